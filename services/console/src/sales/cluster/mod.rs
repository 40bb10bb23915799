//! The sales of a cluster: FlashSales and the pods of their services are watched ([`kept`]), what leads to their data is read when it is
//! needed ([`backends`]). [`object`], [`story`], [`pods`] and [`report`] make of the objects what pages show; [`api_server`] is every call.

mod api_server;
mod backends;
mod kept;
mod object;
mod pods;
mod report;
mod story;

pub use backends::{Platform, values};

use super::{
    Doors, Process, StockChange, changed_meanwhile, unknown,
    view::{Happening, Known, ShownPhase},
};
use crate::place::Place;
use api_server::within;
use backends::{unreached, way};
use crds::{FlashSale, PlaintextPasswords, Readable};
use futures::future::BoxFuture;
use k8s_openapi::api::{
    core::v1::{ConfigMap, Pod, Secret},
    events::v1::Event,
};
use kept::Kept;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::{DynamicObject, GroupVersionKind},
    discovery::ApiResource,
    runtime::watcher,
};
use object::known;
use platform::{
    backends::mongo::MongoError,
    clock::Clock,
    http::problem::{Code, Problem},
};
use sale::{SaleId, phase::Phase};
use serde_json::{json, value::RawValue};
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Who changes a FlashSale, as its managed fields have it.
const MANAGER: &str = "quicksale-console";
/// The label of what the operator makes, with its value.
const MANAGED: &str = "app.kubernetes.io/managed-by=quicksale-operator";
/// How long what leads to a sale's data is believed.
const BELIEVED: Duration = Duration::from_secs(60);
/// How long it is gone by where the API server gives no answer.
const KNOWN: Duration = Duration::from_secs(3_600);
/// How long names may take to be resolved.
const OPENS_WITHIN: Duration = Duration::from_secs(5);
/// How long it is kept where nobody asks.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// The most Events that are read of a sale.
const MOST_EVENTS: u32 = 200;

/// The sales of a cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    sales: Kept<Readable>,
    pods: Kept<Pod>,
    places: Arc<Places>,
    clock: Clock,
    platform: Platform,
}

/// The ways to the sales' data that were found. Each is looked for by itself, so that one which leads nowhere keeps no other waiting.
type Places = std::sync::Mutex<HashMap<SaleId, (Instant, Arc<Mutex<Option<Found>>>)>>;

/// What led to a sale's data.
struct Found {
    at: Instant,
    /// Versions of the objects that said so.
    versions: [Option<String>; 3],
    place: Arc<Place>,
}

impl Cluster {
    /// Begins to watch the namespaces of those names, or all where there are none.
    pub fn watch(
        client: &Client,
        namespaces: &[String],
        platform: Platform,
        clock: Clock,
        stop: &CancellationToken,
    ) -> (Self, [(&'static str, BoxFuture<'static, ()>); 2]) {
        let of_sales = watcher::Config::default().labels(MANAGED);
        let (sales, following_sales) = Kept::follow(client, namespaces, &watcher::Config::default(), stop);
        let (pods, following_pods) = Kept::follow(client, namespaces, &of_sales, stop);
        let cluster = Self {
            client: client.clone(),
            sales,
            pods,
            places: Arc::default(),
            clock,
            platform,
        };
        (cluster, [("sales", following_sales), ("pods", following_pods)])
    }

    pub(super) fn all(&self) -> Result<Vec<Known>, Problem> {
        self.must_know()?;
        Ok(self.sales.all().iter().filter_map(|sale| known(sale)).collect())
    }

    pub(super) fn find(&self, sale: &SaleId) -> Result<Known, Problem> {
        self.must_know()?;
        self.sales
            .get(sale)
            .and_then(|object| known(&object))
            .ok_or_else(unknown)
    }

    /// Nobody knows what sales there are before the API server has said so.
    fn must_know(&self) -> Result<(), Problem> {
        if self.sales.has_begun() {
            return Ok(());
        }
        let sentence =
            "Kubernetes' API server has not said yet what sales there are; the console's log says why.";
        Err(Problem::new(Code::Busy, sentence).retry_after(2))
    }

    /// Ends when it is known what sales there are.
    pub fn is_ready(&self) -> impl Future<Output = ()> + use<> {
        self.sales.is_ready()
    }

    fn flash_sale(&self, sale: &SaleId) -> Result<FlashSale, Problem> {
        let object = self.sales.get(sale).ok_or_else(unknown)?;
        object.0.clone().map_err(|error| {
            Problem::new(
                Code::Busy,
                format!("This FlashSale cannot be read: {}.", error.error),
            )
        })
    }

    pub(super) fn running(&self) -> Vec<SaleId> {
        let runs = |known: &Known| {
            matches!(
                known.summary.phase,
                ShownPhase::Known(Phase::Warming | Phase::Live | Phase::Draining | Phase::Ended)
            )
        };
        let all = self.sales.all();
        let known = all.iter().filter_map(|sale| known(sale)).filter(runs);
        known.map(|known| known.summary.sale).collect()
    }

    pub(super) fn processes(&self, sale: &SaleId) -> Vec<Process> {
        let mut processes: Vec<_> = self
            .pods
            .all()
            .iter()
            .filter(|pod| pods::is_of(pod, sale))
            .map(|pod| pods::process(pod))
            .collect();
        processes.sort_by(|a, b| (&a.component, &a.name).cmp(&(&b.component, &b.name)));
        processes
    }

    pub(super) async fn place(&self, sale: &SaleId) -> Result<Arc<Place>, Problem> {
        let place = self.place_of(sale);
        let mut place = place.lock().await;
        if let Some(found) = &*place
            && found.at.elapsed() < BELIEVED
        {
            return Ok(Arc::clone(&found.place));
        }
        let object = self.flash_sale(sale)?;
        let (config, secret) = match self.leads(sale, &object).await {
            Ok(leads) => leads,
            // What is known leads there still, whatever the API server does.
            Err(problem) if problem.status >= 500 => {
                let known = place.as_ref().filter(|found| found.at.elapsed() < KNOWN);
                return known.map(|found| Arc::clone(&found.place)).ok_or(problem);
            }
            Err(problem) => {
                *place = None;
                return Err(problem);
            }
        };
        let versions = [
            config.resource_version(),
            secret.resource_version(),
            object.meta().generation.map(|generation| generation.to_string()),
        ];
        if let Some(found) = &mut *place
            && found.versions == versions
        {
            found.at = Instant::now();
            return Ok(Arc::clone(&found.place));
        }
        let (config, leads) = way(&object, &config, &secret, self.consent(&object))?;
        let opened = tokio::time::timeout(OPENS_WITHIN, Place::open(config, leads)).await;
        let opened = opened.unwrap_or(Err(MongoError::Deadline(OPENS_WITHIN)));
        let opened = Arc::new(opened.map_err(|error| unreached(&error))?);
        *place = Some(Found {
            at: Instant::now(),
            versions,
            place: Arc::clone(&opened),
        });
        Ok(opened)
    }

    /// Where the way to a sale's data is kept; those that nobody has asked for in a while are forgotten.
    fn place_of(&self, sale: &SaleId) -> Arc<Mutex<Option<Found>>> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.retain(|_, (asked, _)| asked.elapsed() < FORGOTTEN);
        let (asked, place) = places
            .entry(sale.clone())
            .or_insert_with(|| (Instant::now(), Arc::default()));
        *asked = Instant::now();
        Arc::clone(place)
    }

    /// The sale's configuration and the Secret with its backends.
    async fn leads(&self, sale: &SaleId, object: &FlashSale) -> Result<(ConfigMap, Secret), Problem> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &sale.namespace);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &sale.namespace);
        let map = format!("{}-config", sale.name);
        let secret = async {
            match &object.spec.backends_secret_ref {
                Some(own) => within(secrets.get_opt(&own.name)).await,
                None => self.platform.read(&self.client).await,
            }
        };
        let (map, secret) = tokio::join!(within(maps.get_opt(&map)), secret);
        let not_yet = || {
            Problem::new(
                Code::Busy,
                "The operator has not made this sale's configuration yet, or has taken it away: there is no data to look into.",
            )
        };
        Ok((map?.ok_or_else(not_yet)?, secret?.ok_or_else(not_yet)?))
    }

    fn consent(&self, sale: &FlashSale) -> PlaintextPasswords {
        if sale.spec.backends_secret_ref.is_some() {
            sale.spec.plaintext_passwords
        } else {
            self.platform.plaintext
        }
    }

    pub(super) async fn happenings(&self, sale: &SaleId) -> Result<Vec<Happening>, Problem> {
        let object = self.sales.get(sale).ok_or_else(unknown)?;
        let events: Api<Event> = Api::namespaced(self.client.clone(), &sale.namespace);
        let about = format!("regarding.kind=FlashSale,regarding.name={}", sale.name);
        let events = within(events.list(&ListParams::default().fields(&about).limit(MOST_EVENTS))).await?;
        Ok(story::of(&object, &events.items, self.clock.now()))
    }

    pub(super) async fn report(&self, sale: &SaleId) -> Result<Box<RawValue>, Problem> {
        let object = self.flash_sale(sale)?;
        let name = report::name(&object).ok_or_else(report::none)?;
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &sale.namespace);
        let map = within(maps.get_opt(name)).await?;
        report::read(&object, &map.ok_or_else(|| report::gone(name))?)
    }

    pub(super) async fn set_doors(&self, sale: &SaleId, doors: Doors) -> Result<(), Problem> {
        self.flash_sale(sale)?;
        let change = json!({"spec": {"halted": doors == Doors::Halted}});
        self.patch(sale, &change).await
    }

    pub(super) async fn change_stock(&self, sale: &SaleId, change: &StockChange) -> Result<(), Problem> {
        self.flash_sale(sale)?;
        // As it is in the cluster and not as this version knows it: what it does not know must not be lost.
        let sales = self.raw(sale);
        let object = within(sales.get_opt(&sale.name)).await?.ok_or_else(unknown)?;
        let mut products = object.data["spec"]["products"].clone();
        let product = products
            .as_array_mut()
            .into_iter()
            .flatten()
            .find(|product| product["sku"] == change.sku.as_str())
            .ok_or_else(|| Problem::not_found("product"))?;
        let stock = product["stock"].as_i64().unwrap_or_default();
        if stock != change.expected {
            return Err(changed_meanwhile(&change.sku, stock));
        }
        product["stock"] = json!(stock.saturating_add(change.delta));
        let version = object.resource_version();
        self.patch(
            sale,
            &json!({"metadata": {"resourceVersion": version}, "spec": {"products": products}}),
        )
        .await
    }

    async fn patch(&self, sale: &SaleId, change: &serde_json::Value) -> Result<(), Problem> {
        let params = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        within(self.raw(sale).patch(&sale.name, &params, &Patch::Merge(change)))
            .await
            .map(drop)
    }

    fn raw(&self, sale: &SaleId) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("quicksale.io", "v1alpha1", "FlashSale");
        Api::namespaced_with(
            self.client.clone(),
            &sale.namespace,
            &ApiResource::from_gvk_with_plural(&kind, "flashsales"),
        )
    }
}
