//! The backends, as far as they are asked what they have counted.

use crate::options::Options;
use anyhow::Context;
use fred::{clients::Client as Redis, interfaces::ClientLike, types::InfoKind};
use mongodb::{Client as Mongo, bson::doc};
use platform::backends::{
    mongo::{self, MongoUri},
    redis::{self, RedisUrl},
};
use quicksale_bench::counts::Counts;

/// Connections to the backends that are named, if any are.
pub(crate) struct Backends {
    mongodb: Option<Mongo>,
    redis: Option<Redis>,
}

impl Backends {
    /// Connects.
    pub(crate) async fn connect(options: &Options) -> anyhow::Result<Self> {
        let mongodb = match &options.mongodb {
            Some(uri) => {
                let uri = MongoUri::parse(uri).map_err(|wrong| anyhow::anyhow!("--mongodb {wrong}"))?;
                Some(mongo::client(&uri).await?)
            }
            None => None,
        };
        let redis = match &options.redis {
            Some(url) => {
                let url = RedisUrl::parse(url).map_err(|wrong| anyhow::anyhow!("--redis {wrong}"))?;
                Some(redis::client(&url).context("--redis")?)
            }
            None => None,
        };
        Ok(Self { mongodb, redis })
    }

    /// What they have counted by now.
    pub(crate) async fn counts(&self) -> anyhow::Result<Counts> {
        let status = match &self.mongodb {
            Some(client) => {
                let admin = client.database("admin");
                let asked = admin.run_command(doc! {"serverStatus": 1});
                asked.await.context("serverStatus")?
            }
            None => doc! {},
        };
        let stats: String = match &self.redis {
            Some(client) => client
                .info(Some(InfoKind::CommandStats))
                .await
                .context("INFO commandstats")?,
            None => String::new(),
        };
        Ok(Counts::read(&status, &stats))
    }
}
