//! Holds that inventory remembers: what has become of them meanwhile counts, and not what is remembered.

use anyhow::{Context, Result, ensure};
use events::{Message, Payload, message::OrderStatusChanged, outbox::Outbox, topics::partition_of};
use mongodb::bson::{Document, doc};
use quicksale_tests::{
    scenarios::SETTLED,
    world::{World, eventually},
};
use sale::{
    OrderId, UserId,
    order::{Confirmation, InventoryStatus, OrderStatus},
};

/// The news that an order is confirmed, as the order service writes them.
async fn confirm(world: &World, order: &str) -> Result<()> {
    let change = OrderStatusChanged {
        user_id: UserId::new("ada"),
        status: OrderStatus::Confirmed,
        inventory_status: InventoryStatus::Reserved,
        message: String::new(),
        reason: None,
        hold_expires_at: None,
        again: false,
    };
    let payload = Payload::OrderStatus(change);
    let message = Message::new(OrderId::new(order), jiff::Timestamp::now(), None, payload);
    let mut session = world.database.client().start_session().await?;
    session.start_transaction().await?;
    Outbox::new(&world.database)
        .append(&mut session, &[message])
        .await?;
    Ok(session.commit_transaction().await?)
}

/// Its units went back in the meantime. There is another hold, so the account alone would not tell.
#[tokio::test]
async fn a_hold_that_ended_elsewhere_is_not_sold() -> Result<()> {
    let world = World::start_with(Confirmation::Payment).await?;
    let shop = &world.shop;
    shop.product("P", 5, None).await?;
    let placed = shop.order("ada", "k", "P", 1).await?;
    let order = placed.expect(201)?.json["order"]["_id"]
        .as_str()
        .context("no _id")?;
    shop.order("bob", "k", "P", 1).await?.expect(201)?;
    let reservations = world.database.collection::<Document>("reservations");
    eventually(SETTLED, "both are held", async || {
        Ok(reservations.count_documents(doc! {"state": "HELD"}).await? == 2)
    })
    .await?;
    let ended = doc! {"$set": {"state": "RELEASED"}, "$unset": {"expiresAt": ""}};
    reservations.update_one(doc! {"_id": order}, ended).await?;
    let products = world.database.collection::<Document>("products");
    products
        .update_one(doc! {"sku": "P"}, doc! {"$inc": {"reserved": -1}})
        .await?;
    let partition = partition_of(order, world.config.kafka.partitions);
    let lane = doc! {"_id": format!("inventory/order.status/{partition}")};
    let lanes = world.database.collection::<Document>("lanes");
    let offset = async || -> Result<i64> {
        let lane = lanes.find_one(lane.clone()).await?.context("no such lane")?;
        Ok(lane.get_i64("offset")?)
    };
    eventually(SETTLED, "what was said before is heard", async || {
        let settlement = world.settlement().await?;
        Ok(settlement["outbox"] == 0 && settlement["lag"] == 0)
    })
    .await?;
    let before = offset().await?;
    confirm(&world, order).await?;
    eventually(SETTLED, "inventory has heard of it", async || {
        Ok(offset().await? > before)
    })
    .await?;
    let product = shop.shown("P").await?;
    ensure!(product["sold"] == 0 && product["reserved"] == 1, "{product}");
    let hold = reservations.find_one(doc! {"_id": order}).await?;
    ensure!(
        hold.context("no hold")?.get_str("state")? == "RELEASED",
        "it was moved"
    );
    Ok(())
}
