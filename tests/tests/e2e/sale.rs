//! A FlashSale of the test's own on the cluster, and the way to its shop.

use anyhow::{Context, Result};
use crds::FlashSale;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use quicksale_tests::{cluster::Cluster, scenarios::Login, shop::Shop, world::eventually};
use serde_json::{Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};

/// How long a sale may take to open, its pods included.
const OPENING: Duration = Duration::from_secs(120);
/// How long a deleted sale may take to go: its pods drain first.
const GOING: Duration = Duration::from_secs(150);
/// The services of a sale.
pub(crate) const SERVICES: [&str; 6] = ["auth", "inventory", "order", "processor", "notifier", "gateway"];

/// A sale that is open.
pub(crate) struct OpenSale {
    pub(crate) cluster: Cluster,
    pub(crate) name: &'static str,
    pub(crate) shop: Arc<Shop>,
}

/// The port of the ingress on loopback.
pub(crate) fn ingress_port() -> Result<u16> {
    let port = std::env::var("INGRESS_PORT").unwrap_or_else(|_| "18080".to_owned());
    port.parse().context("INGRESS_PORT is no port")
}

/// A sale of 50 units, one for each customer, with two gateways and one of everything else.
pub(crate) fn spec(host: &str) -> Value {
    json!({
        "products": [{"sku": "UNIT", "name": "A unit", "price": "799.99", "stock": 50, "limitPerCustomer": 1}],
        "kafka": {"partitions": 4},
        "services": {"gateway": {"replicas": {"min": 2}}},
        "ingress": {"host": host, "className": "traefik"},
        "deletionPolicy": "Delete",
    })
}

impl OpenSale {
    /// Applies a FlashSale and waits until it is Live.
    pub(crate) async fn open(prefix: &str) -> Result<Self> {
        let cluster = Cluster::with_namespace(prefix).await?;
        let host = format!("{}.localhost", cluster.namespace);
        cluster.sell("units", &spec(&host)).await?;
        Self::of(cluster, "units", &host).await
    }

    /// The sample sale of `make up`.
    pub(crate) async fn sample() -> Result<Self> {
        let cluster = Cluster::in_namespace("shop").await?;
        Self::of(cluster, "laptops", "laptops.localhost").await
    }

    /// One that was applied, once it is Live.
    pub(crate) async fn of(cluster: Cluster, name: &'static str, host: &str) -> Result<Self> {
        let live = eventually(OPENING, "the sale is Live", async || {
            Ok(phase(&cluster, name).await?.as_deref() == Some("Live"))
        });
        live.await
            .with_context(|| format!("kubectl --namespace {} describe fs", cluster.namespace))?;
        let address = ([127, 0, 0, 1], ingress_port()?).into();
        let shop = Arc::new(shop_at(&cluster, name, host, address).await?);
        let sale = Self { cluster, name, shop };
        eventually(
            Duration::from_secs(30),
            "the ingress leads to the sale",
            async || {
                let page = sale
                    .shop
                    .send(reqwest::Method::GET, "/api/sale", None, None)
                    .await?;
                Ok(page.status == 200
                    && page.json["products"]
                        .as_array()
                        .is_some_and(|list| !list.is_empty()))
            },
        )
        .await?;
        Ok(sale)
    }

    /// Its shop by another way in.
    pub(crate) async fn at(&self, address: SocketAddr) -> Result<Shop> {
        shop_at(&self.cluster, self.name, "shop.example.com", address).await
    }

    /// The sale as it stands.
    pub(crate) async fn resource(&self) -> Result<FlashSale> {
        self.cluster.sale(self.name).await
    }

    /// The pods of a service.
    pub(crate) async fn pods(&self, service: &str) -> Result<Vec<Pod>> {
        let selected = ListParams::default().labels(&format!(
            "quicksale.io/sale={},app.kubernetes.io/component={service}",
            self.name
        ));
        Ok(self.cluster.api::<Pod>().list(&selected).await?.items)
    }

    /// Ends the pods of a service at once, without any notice.
    pub(crate) async fn kill(&self, service: &str) -> Result<()> {
        for pod in self.pods(service).await? {
            let at_once = DeleteParams::default().grace_period(0);
            self.cluster
                .api::<Pod>()
                .delete(&pod.name_any(), &at_once)
                .await?;
        }
        Ok(())
    }

    /// Writes an annotation of the sale.
    pub(crate) async fn annotate(&self, annotation: &str, value: &str) -> Result<()> {
        let change = json!({"metadata": {"annotations": {annotation: value}}});
        let sales = self.cluster.api::<FlashSale>();
        sales
            .patch(self.name, &PatchParams::default(), &Patch::Merge(&change))
            .await?;
        Ok(())
    }

    /// Deletes the sale, open or not, and waits until it is gone.
    pub(crate) async fn delete(&self) -> Result<()> {
        let sales = self.cluster.api::<FlashSale>();
        self.annotate("quicksale.io/drain-and-delete", "true").await?;
        sales.delete(self.name, &DeleteParams::default()).await?;
        eventually(GOING, "the sale is gone", async || {
            Ok(sales.get_opt(self.name).await?.is_none())
        })
        .await
    }

    /// Deletes the sale and its namespace, at the end of a test that passed.
    pub(crate) async fn close(self) -> Result<()> {
        self.delete().await?;
        self.cluster.leave().await
    }
}

async fn shop_at(cluster: &Cluster, name: &str, host: &str, address: SocketAddr) -> Result<Shop> {
    let keys = cluster
        .api::<Secret>()
        .get(&format!("{name}-signing-keys"))
        .await?;
    let pem = keys
        .data
        .unwrap_or_default()
        .remove("signing-key.pem")
        .context("no signing key")?;
    Shop::new(host, address, &String::from_utf8(pem.0)?)
}

async fn phase(cluster: &Cluster, name: &str) -> Result<Option<String>> {
    let status = cluster.sale(name).await?.status.unwrap_or_default();
    Ok(status.phase.map(|phase| phase.as_str().to_owned()))
}

/// The first administrator, as `make up` prints it.
pub(crate) async fn admin(cluster: &Cluster) -> Result<Login> {
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), "quicksale-system");
    let mut data = secrets.get("quicksale-admin").await?.data.unwrap_or_default();
    let mut text = |key: &str| -> Result<String> {
        let value = data.remove(key).with_context(|| format!("no {key}"))?;
        Ok(String::from_utf8(value.0)?)
    };
    Ok(Login {
        email: text("email")?,
        password: text("password")?,
    })
}
