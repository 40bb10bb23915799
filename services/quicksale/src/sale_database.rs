//! The database of a sale, for commands that look into it and end.

use anyhow::Result;
use clap::Args;
use mongodb::{Client, Database};
use platform::{
    backends::{
        self,
        mongo::{MongoUri, Transactions},
    },
    config::{Config, paths},
};
use std::path::PathBuf;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Which sale.
#[derive(Debug, Args)]
pub(crate) struct SaleOptions {
    /// The configuration of the sale. `MONGODB_URI` leads to its database.
    #[arg(long, env = "QUICKSALE_CONFIG", default_value = paths::CONFIG)]
    config: PathBuf,
}

/// A sale's database, and transactions on it.
pub(crate) struct Sale {
    pub(crate) config: Config,
    pub(crate) database: Database,
    pub(crate) transactions: Transactions,
    stop: CancellationToken,
    keeping: JoinHandle<()>,
    _client: Client,
    /// The client looks into it for as long as it lives.
    _uri: MongoUri,
}

impl Sale {
    /// Connects.
    pub(crate) async fn open(options: &SaleOptions) -> Result<Self> {
        let config = Config::read(&options.config)?;
        let uri = backends::mongodb(&backends::environment)?;
        let client = backends::mongo::client(&uri).await?;
        let database = client.database(&config.data.database);
        let name = format!("command-{}", uuid::Uuid::new_v4().simple());
        let transactions = Transactions::new(&database, uri.user(), name);
        let stop = CancellationToken::new();
        Ok(Self {
            keeping: tokio::spawn(transactions.clone().keep(stop.clone())),
            config,
            database,
            transactions,
            stop,
            _client: client,
            _uri: uri,
        })
    }

    /// Ends what runs beside the transactions.
    pub(crate) async fn close(self) -> Result<()> {
        self.stop.cancel();
        Ok(self.keeping.await?)
    }
}
