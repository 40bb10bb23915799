//! Payments and cancellations of many orders at once.

use anyhow::{Result, ensure};
use futures::future::{join_all, try_join_all};
use mongodb::bson::{Document, doc};
use platform::tokens::Role;
use quicksale_tests::{
    orders::{ask, held},
    scenarios::SETTLED,
    world::{World, eventually},
};
use sale::order::Confirmation;
use std::time::{Duration, Instant};

/// Orders that are decided about.
const ORDERS: usize = 60;

/// Half of them are paid and half are called off, and somebody pays what does not exist.
#[tokio::test]
async fn decisions_that_come_together_share_commits_and_each_has_its_own_answer() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    world.shop.product("MANY", 100, None).await?;
    let user = |n: usize| format!("buyer-{n}");
    let held = (0..ORDERS).map(|n| {
        let world = &world;
        async move { held(world, &user(n), "k", "MANY").await }
    });
    let orders = try_join_all(held).await?;
    let payment = world.shop.token("the-payment", Role::Service)?;
    let batches = "quicksale_order_batch_size_count{work=\"decide\"}";
    let before = world.metric("order", batches).await?;
    // The first commit waits for somebody else's, and the others gather.
    let mut session = world.database.client().start_session().await?;
    session.start_transaction().await?;
    let documents = world.database.collection::<Document>("orders");
    documents
        .update_one(doc! {"_id": &orders[0]}, doc! {"$set": {"touched": true}})
        .session(&mut session)
        .await?;
    let decide = |n: usize| {
        let (world, payment, order) = (&world, &payment, &orders[n]);
        async move {
            let end = Instant::now() + SETTLED;
            loop {
                let answer = if n.is_multiple_of(2) {
                    ask(world, order, "confirm", payment).await?
                } else {
                    let buyer = world.shop.token(&user(n), Role::Buyer)?;
                    ask(world, order, "cancel", &buyer).await?
                };
                // On a machine that is busy the tries may be over before the document is let go: such a one is told to come again.
                if answer.status != 503 || Instant::now() > end {
                    return anyhow::Ok(answer);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    let others = async {
        eventually(SETTLED, "the first commit has begun", async || {
            Ok(world.metric("order", batches).await? > before)
        })
        .await?;
        let others = join_all((1..ORDERS).map(decide));
        let let_go = async {
            // Shorter than a transaction is tried.
            tokio::time::sleep(Duration::from_millis(300)).await;
            session.abort_transaction().await
        };
        let unknown = ask(&world, "unknown", "confirm", &payment);
        let (others, aborted, unknown) = tokio::join!(others, let_go, unknown);
        aborted?;
        anyhow::Ok((others, unknown))
    };
    let (first, others) = tokio::join!(decide(0), others);
    let (others, unknown) = others?;
    let decided = std::iter::once(first).chain(others);
    unknown?.expect_problem(404, "not_found")?;
    for (n, (order, decided)) in orders.iter().zip(decided).enumerate() {
        let end = if n.is_multiple_of(2) {
            "CONFIRMED"
        } else {
            "CANCELLED"
        };
        let decided = decided?;
        let shown = &decided.expect(200)?.json["order"];
        ensure!(shown["_id"] == *order && shown["status"] == end, "{n}: {shown}");
        ensure!(world.count_orders(doc! {"_id": order, "status": end}).await? == 1);
    }
    let commits = world.metric("order", batches).await? - before;
    ensure!(
        commits < ORDERS as f64 / 2.0,
        "{commits} commits for {ORDERS} decisions"
    );
    eventually(SETTLED, "each unit is where its order has ended", async || {
        let product = world.shop.shown("MANY").await?;
        Ok(product["sold"] == ORDERS / 2 && product["reserved"] == 0)
    })
    .await?;
    world.check_conservation().await
}

/// A document that a later version, or a hand, has written.
#[tokio::test]
async fn an_order_that_cannot_be_read_keeps_no_decision_about_another_waiting() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    world.shop.product("OTHER", 10, None).await?;
    let order = held(&world, "ada", "k", "OTHER").await?;
    let orders = world.database.collection::<Document>("orders");
    orders
        .insert_one(doc! {"_id": "strange", "userId": "ada", "status": "OF-ANOTHER-KIND"})
        .await?;
    let payment = world.shop.token("the-payment", Role::Service)?;
    let (strange, paid) = tokio::join!(
        ask(&world, "strange", "confirm", &payment),
        ask(&world, &order, "confirm", &payment)
    );
    strange?.expect_problem(503, "busy")?;
    paid?.expect(200)?;
    Ok(())
}
