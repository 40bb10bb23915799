//! Indexes and the administrator: makes the accounts agree with what the platform declares, at the start and whenever the
//! declaration changes.
//!
//! Whoever has registered an address is not thereby its owner. So where the declared address has an account already, that
//! account gets the declared password and loses all of its sessions in the same write that makes it an administrator's.
//! Whoever is no longer declared is a buyer again, without the old sessions, also in one write. Sales may share the accounts.
//! One that no longer declares an administrator takes the role away, whoever else has declared it: that sale may be gone.
//! One that still does puts it back, since each looks at the account of its administrator again and again.

use crate::{
    account::Email,
    admin::{Admin, AdminSecret, AdminSource, Declared},
    guesses::Guesses,
    password::Passwords,
    service_account::ServiceAccounts,
    session_store::SessionStore,
    store::{Store, User},
};
use mongodb::bson::DateTime;
use platform::{
    audit::{self, Event, Outcome},
    health::ReadinessGate,
    retry::Backoff,
    rounds::Rounds,
    tokens::Role,
};
use sale::UserId;
use secrecy::ExposeSecret;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often the declaration is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often the account of the administrator is looked at though the declaration has not changed.
pub const AGAIN_EVERY: Duration = Duration::from_secs(60);

/// Keeps the administrator of a sale as it is declared.
pub struct Seeder {
    /// The users.
    pub users: Store,
    /// Their sessions.
    pub sessions: SessionStore,
    /// Accounts of the shop's programs.
    pub service_accounts: ServiceAccounts,
    /// Counts of tries at passwords.
    pub guesses: Guesses,
    /// Hashing.
    pub passwords: Passwords,
    /// Where the administrator is declared.
    pub source: AdminSource,
    /// The sale, as it stands in the accounts of its administrators.
    pub sale: String,
}

impl Seeder {
    /// Prepares the accounts as soon as the database answers, then follows the declaration for as long as the process
    /// lasts. A declaration that cannot be used keeps no buyer from logging in.
    pub async fn run(self, ready: ReadinessGate, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        while let Err(problem) = self.create_indexes().await {
            tracing::warn!(problem, "cannot prepare the accounts yet; trying on");
            ready.waits(&problem);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(backoff.next_wait()) => {}
            }
        }
        let (mut in_force, mut said) = (None, None);
        self.look(&mut in_force, &mut said).await;
        let mut looked = Instant::now();
        ready.release();
        let mut rounds = Rounds::every(LOOK_EVERY, &stop);
        while rounds.another().await {
            if looked.elapsed() >= AGAIN_EVERY {
                in_force = None;
            }
            if in_force.is_none() {
                looked = Instant::now();
            }
            self.look(&mut in_force, &mut said).await;
        }
    }

    async fn create_indexes(&self) -> Result<(), String> {
        let done = async {
            self.users.create_indexes().await?;
            self.sessions.create_indexes().await?;
            self.service_accounts.create_indexes().await?;
            self.guesses.create_indexes().await
        };
        done.await.map_err(|error| error.to_string())
    }

    /// Puts the declaration into force if it has changed, and says a problem once.
    async fn look(&self, in_force: &mut Option<String>, said: &mut Option<String>) {
        let done = async {
            let declared = self.source.read()?;
            let fingerprint = declared.fingerprint();
            if in_force.as_ref() != Some(&fingerprint) {
                self.apply(&declared).await?;
                *in_force = Some(fingerprint);
            }
            Ok::<_, String>(())
        };
        match done.await {
            Ok(()) => *said = None,
            Err(problem) if said.as_ref() != Some(&problem) => {
                tracing::warn!(problem, "the administrator stays as it was; trying on");
                *said = Some(problem);
            }
            Err(_) => {}
        }
    }

    async fn apply(&self, declared: &Declared) -> Result<(), String> {
        let email = match declared {
            Declared::Nothing => return Ok(()),
            Declared::Nobody => None,
            Declared::Admin(admin) => {
                let email = Email::parse(&admin.email)
                    .map_err(|problem| format!("the administrator's address: {}", problem.detail))?;
                self.ensure(&email, admin).await?;
                Some(email)
            }
        };
        self.demote_all_but(email.as_ref()).await
    }

    async fn ensure(&self, email: &Email, admin: &Admin) -> Result<(), String> {
        let Some(user) = self
            .users
            .user_by_email(email)
            .await
            .map_err(|error| error.to_string())?
        else {
            let user = self.new_admin(email, self.hash(admin).await?);
            self.users
                .add_user(&user)
                .await
                .map_err(|error| error.to_string())?;
            note("administrator_seed", &user.id);
            return Ok(());
        };
        if user.role == Role::Admin && self.matches(&user, admin).await? {
            let shared = self.users.share_admin(&user.id, &self.sale).await;
            return match shared.map_err(|error| error.to_string())? {
                true => Ok(()),
                false => Err("the account changed meanwhile".to_owned()),
            };
        }
        let hash = self.hash(admin).await?;
        if !self
            .users
            .make_admin(&user, &hash, &self.sale)
            .await
            .map_err(|error| error.to_string())?
        {
            return Err("the account changed meanwhile".to_owned());
        }
        note(
            if user.role == Role::Admin {
                "administrator_password"
            } else {
                "administrator_promotion"
            },
            &user.id,
        );
        self.tidy(&user).await
    }

    async fn demote_all_but(&self, email: Option<&Email>) -> Result<(), String> {
        for user in self
            .users
            .other_admins(&self.sale, email)
            .await
            .map_err(|error| error.to_string())?
        {
            if self
                .users
                .drop_admin(&user.id)
                .await
                .map_err(|error| error.to_string())?
            {
                note("administrator_demotion", &user.id);
                self.tidy(&user).await?;
            }
        }
        Ok(())
    }

    /// Removes what sessions a user had: they are over already, since the account has another version.
    async fn tidy(&self, user: &User) -> Result<(), String> {
        let version = user.auth_version + 1;
        self.sessions
            .end_older(&user.id, version)
            .await
            .map_err(|error| error.to_string())
    }

    async fn matches(&self, user: &User, admin: &Admin) -> Result<bool, String> {
        match &admin.secret {
            AdminSecret::Hash(hash) => Ok(user.password_hash == hash.expose_secret()),
            AdminSecret::Password(password) => {
                let hash = Some(user.password_hash.clone());
                let same = self.passwords.verify(password.clone(), hash, None).await;
                same.map_err(|problem| problem.detail)
            }
        }
    }

    async fn hash(&self, admin: &Admin) -> Result<String, String> {
        match &admin.secret {
            AdminSecret::Hash(hash) => Ok(hash.expose_secret().to_owned()),
            AdminSecret::Password(password) => {
                let hash = self.passwords.hash(password.clone(), None).await;
                hash.map_err(|problem| problem.detail)
            }
        }
    }

    fn new_admin(&self, email: &Email, password_hash: String) -> User {
        User {
            id: UserId::new(uuid::Uuid::now_v7().to_string()),
            email: email.as_str().to_owned(),
            password_hash,
            first_name: "Sale".to_owned(),
            last_name: "Admin".to_owned(),
            role: Role::Admin,
            created_at: DateTime::now(),
            auth_version: 0,
            seeded_by: vec![self.sale.clone()],
            known_networks: Vec::new(),
        }
    }
}

fn note(action: &'static str, whose: &UserId) {
    audit::record(Event {
        action,
        outcome: Outcome::Done,
        who: "auth",
        whose: whose.as_str(),
        from: None,
        request_id: None,
    });
}
