//! Where the sales are: all those of a cluster ([`cluster`]), or one that goes by files ([`one`]).

pub mod cluster;
pub mod one;
pub mod view;

use crate::{place::Place, scrape::Target};
use platform::http::problem::{Code, Problem};
use sale::SaleId;
use serde_json::value::RawValue;
use std::sync::Arc;
use view::{Happening, Known};

/// The sales that a console shows.
#[derive(Clone)]
pub enum Sales {
    /// Those of a cluster.
    Cluster(Arc<cluster::Cluster>),
    /// One without an operator.
    One(Arc<one::One>),
}

/// A process of a sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// What it is, such as `gateway`.
    pub component: String,
    /// Its name.
    pub name: String,
    /// Whether it says that it can work.
    pub ready: bool,
    /// Where its metrics are.
    pub target: Option<Target>,
}

/// A change of a product's stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockChange {
    /// Of which product.
    pub sku: String,
    /// What the stock was for whoever asks.
    pub expected: i64,
    /// By how much it changes.
    pub delta: i64,
    /// Names the change: with the same name it is made once.
    pub key: String,
}

/// Whether orders are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doors {
    /// New orders are refused.
    Halted,
    /// They are taken, as far as the times say.
    Open,
}

impl Sales {
    /// All of them, in no order.
    ///
    /// # Errors
    /// 503 where nobody knows.
    pub async fn all(&self) -> Result<Vec<Known>, Problem> {
        match self {
            Self::Cluster(cluster) => cluster.all(),
            Self::One(one) => Ok(vec![one.known().await?]),
        }
    }

    /// One of them.
    ///
    /// # Errors
    /// 404, or 503 where nobody knows.
    pub async fn find(&self, sale: &SaleId) -> Result<Known, Problem> {
        match self {
            Self::Cluster(cluster) => cluster.find(sale),
            Self::One(one) if one.id() == sale => one.known().await,
            Self::One(_) => Err(unknown()),
        }
    }

    /// Its database and topics.
    ///
    /// # Errors
    /// 404, or 503 where they are not known or cannot be used.
    pub async fn place(&self, sale: &SaleId) -> Result<Arc<Place>, Problem> {
        match self {
            Self::Cluster(cluster) => cluster.place(sale).await,
            Self::One(one) if one.id() == sale => Ok(one.place()),
            Self::One(_) => Err(unknown()),
        }
    }

    /// Its processes.
    pub fn processes(&self, sale: &SaleId) -> Vec<Process> {
        match self {
            Self::Cluster(cluster) => cluster.processes(sale),
            Self::One(one) if one.id() == sale => one.processes(),
            Self::One(_) => Vec::new(),
        }
    }

    /// The sales whose processes have something to tell.
    pub fn running(&self) -> Vec<SaleId> {
        match self {
            Self::Cluster(cluster) => cluster.running(),
            Self::One(one) => vec![one.id().clone()],
        }
    }

    /// What Kubernetes was told about a sale.
    ///
    /// # Errors
    /// 503.
    pub async fn happenings(&self, sale: &SaleId) -> Result<Vec<Happening>, Problem> {
        match self {
            Self::Cluster(cluster) => cluster.happenings(sale).await,
            Self::One(one) => Ok(one.happenings()),
        }
    }

    /// The report of a sale that has ended, as it was written.
    ///
    /// # Errors
    /// 404 where there is none, 403 where what the sale names is none of its own, or 503.
    pub async fn report(&self, sale: &SaleId) -> Result<Box<RawValue>, Problem> {
        match self {
            Self::Cluster(cluster) => cluster.report(sale).await,
            Self::One(one) if one.id() == sale => Err(Problem::new(
                Code::NotFound,
                "A sale without an operator has no report.",
            )),
            Self::One(_) => Err(unknown()),
        }
    }

    /// Halts a sale, or takes that back.
    ///
    /// # Errors
    /// 403, 404, or 503 where it is not known whether that was done.
    pub async fn set_doors(&self, sale: &SaleId, doors: Doors) -> Result<(), Problem> {
        match self {
            Self::Cluster(cluster) => cluster.set_doors(sale, doors).await,
            Self::One(one) => one.set_doors(doors).await,
        }
    }

    /// Changes the stock of a product.
    ///
    /// # Errors
    /// 404, 409 where it is another one by now or too much is held and sold, 503 where it is not known whether that was done.
    pub async fn change_stock(&self, sale: &SaleId, change: &StockChange) -> Result<(), Problem> {
        match self {
            Self::Cluster(cluster) => cluster.change_stock(sale, change).await,
            Self::One(one) => one.change_stock(change).await,
        }
    }
}

/// There is no such sale.
fn unknown() -> Problem {
    Problem::not_found("sale")
}

/// Somebody has changed the stock since it was shown.
fn changed_meanwhile(sku: &str, stock: i64) -> Problem {
    Problem::new(
        Code::StaleVersion,
        format!("The stock of {sku} is {stock} by now; look at it and decide anew."),
    )
}
