//! Indexes and the first admin.

use crate::{
    Admin,
    account::Email,
    password::Passwords,
    store::{Store, User},
};
use mongodb::bson::DateTime;
use platform::{backends::mongo::is_duplicate_key, health::ReadinessGate, retry::Backoff, tokens::Role};
use sale::UserId;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Prepares the accounts as soon as the database answers, then lasts as long as the process.
pub async fn prepare(
    store: Store,
    passwords: Passwords,
    admin: Option<Admin>,
    ready: ReadinessGate,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    while let Err(problem) = attempt(&store, &passwords, admin.as_ref()).await {
        tracing::warn!(problem, "cannot prepare the accounts yet; trying on");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
    ready.release();
    stop.cancelled().await;
}

async fn attempt(store: &Store, passwords: &Passwords, admin: Option<&Admin>) -> Result<(), String> {
    store.create_indexes().await.map_err(|error| error.to_string())?;
    let Some(admin) = admin else { return Ok(()) };
    let email = Email::parse(&admin.email).map_err(|problem| format!("ADMIN_EMAIL: {}", problem.detail))?;
    let existing = store
        .user_by_email(&email)
        .await
        .map_err(|error| error.to_string())?;
    let known = existing.as_ref().map(|user| user.password_hash.clone());
    let same = passwords
        .verify(admin.password.clone(), known)
        .await
        .map_err(|p| p.detail)?;
    if same && existing.as_ref().is_some_and(|user| user.role == Role::Admin) {
        return Ok(());
    }
    let password_hash = passwords
        .hash(admin.password.clone())
        .await
        .map_err(|p| p.detail)?;
    let done = match existing {
        Some(user) => store.make_admin(&user.id, &password_hash).await,
        None => store.add_user(&new_admin(&email, password_hash)).await,
    };
    match done {
        // Another replica was quicker.
        Err(error) if is_duplicate_key(&error) => Ok(()),
        other => other.map_err(|error| error.to_string()),
    }
}

fn new_admin(email: &Email, password_hash: String) -> User {
    User {
        id: UserId::new(uuid::Uuid::now_v7().to_string()),
        email: email.as_str().to_owned(),
        password_hash,
        first_name: "Sale".to_owned(),
        last_name: "Admin".to_owned(),
        role: Role::Admin,
        created_at: DateTime::now(),
    }
}
