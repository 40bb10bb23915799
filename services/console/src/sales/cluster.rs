//! The sales of a cluster: FlashSales and the pods of their services are watched, what leads to their data is read when it is needed.

use super::{
    Doors, Process, StockChange, changed_meanwhile, unknown,
    view::{Condition, Happening, HappeningKind, Known, ShownPhase, Steering, Summary, Units},
};
use crate::{
    place::{Leads, Place},
    scrape::Target,
};
use crds::{
    FlashSale, PlaintextPasswords, Readable,
    flashsale::Mode,
    status::{Condition as Stated, ConditionType},
};
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, join_all},
};
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::{ConfigMap, Pod, Secret},
    events::v1::Event,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::{DynamicObject, GroupVersionKind, NamespaceResourceScope},
    discovery::ApiResource,
    runtime::{WatchStreamExt, reflector, watcher},
};
use order::tally::Counts;
use platform::{
    backends::PLAINTEXT_PASSWORDS,
    config::{Config, ports},
    http::problem::{Code, Problem},
};
use sale::{SaleId, phase::Phase};
use serde_json::json;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Who changes a FlashSale, as its managed fields have it.
const MANAGER: &str = "quicksale-console";
/// The label of what the operator makes, and its value.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "quicksale-operator");
/// The label with the sale's name.
const SALE: &str = "quicksale.io/sale";
/// The label with the component's name.
const COMPONENT: &str = "app.kubernetes.io/component";
/// What comes before the keys of a backends Secret that are for the console alone, such as a user that may only read.
const OWN: &str = "CONSOLE_";
/// How long what leads to a sale's data is believed.
const BELIEVED: Duration = Duration::from_secs(60);
/// How long the API server has for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most Events that are read of a sale.
const MOST_EVENTS: u32 = 200;

/// The sales of a cluster.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    sales: Kept<Readable>,
    pods: Kept<Pod>,
    places: Arc<Mutex<HashMap<SaleId, Found>>>,
    platform: Platform,
}

/// The platform's own backends, which sales use that name no others.
#[derive(Debug, Clone)]
pub struct Platform {
    /// The namespace of the Secret that leads there.
    pub namespace: String,
    /// The Secret's name.
    pub secret: String,
    /// Whether passwords may go there in plain text.
    pub plaintext: PlaintextPasswords,
}

impl Platform {
    /// What leads there, if anything does.
    ///
    /// # Errors
    /// 403, or 503 where the API server does not answer.
    pub async fn read(&self, client: &Client) -> Result<Option<Secret>, Problem> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &self.namespace);
        within(secrets.get_opt(&self.secret)).await
    }
}

/// The values of a backends Secret as the console reads them: those for it alone before those for everybody.
pub fn values(secret: &Secret, plaintext: PlaintextPasswords) -> impl Fn(&str) -> Option<String> {
    let data = secret.data.clone().unwrap_or_default();
    let value = move |key: &str| {
        let value = data.get(key)?;
        String::from_utf8(value.0.clone())
            .ok()
            .filter(|value| !value.is_empty())
    };
    move |name| {
        if name == PLAINTEXT_PASSWORDS {
            return (plaintext == PlaintextPasswords::Allow).then(|| "Allow".to_owned());
        }
        value(&format!("{OWN}{name}")).or_else(|| value(name))
    }
}

/// What led to a sale's data.
struct Found {
    at: Instant,
    /// Versions of the objects that said so.
    versions: [Option<String>; 2],
    place: Arc<Place>,
}

impl Cluster {
    /// Begins to watch the namespaces of those names, or all where there are none.
    pub fn watch(
        client: &Client,
        namespaces: &[String],
        platform: Platform,
        stop: &CancellationToken,
    ) -> (Self, [(&'static str, BoxFuture<'static, ()>); 2]) {
        let of_sales = watcher::Config::default().labels(&format!("{}={}", MANAGED_BY.0, MANAGED_BY.1));
        let (sales, following_sales) = Kept::follow(client, namespaces, &watcher::Config::default(), stop);
        let (pods, following_pods) = Kept::follow(client, namespaces, &of_sales, stop);
        let cluster = Self {
            client: client.clone(),
            sales,
            pods,
            places: Arc::default(),
            platform,
        };
        (cluster, [("sales", following_sales), ("pods", following_pods)])
    }

    pub(super) fn all(&self) -> Result<Vec<Known>, Problem> {
        Ok(self.sales.all().iter().filter_map(|sale| known(sale)).collect())
    }

    pub(super) fn find(&self, sale: &SaleId) -> Result<Known, Problem> {
        self.sales
            .get(sale)
            .and_then(|object| known(&object))
            .ok_or_else(unknown)
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
        let is_of_sale = |pod: &Arc<Pod>| {
            pod.namespace().as_deref() == Some(&sale.namespace) && pod.labels().get(SALE) == Some(&sale.name)
        };
        let mut processes: Vec<_> = self
            .pods
            .all()
            .iter()
            .filter(|pod| is_of_sale(pod))
            .map(|pod| process(pod))
            .collect();
        processes.sort_by(|a, b| (&a.component, &a.name).cmp(&(&b.component, &b.name)));
        processes
    }

    pub(super) async fn place(&self, sale: &SaleId) -> Result<Arc<Place>, Problem> {
        // One at a time: places are few, and are found once a minute.
        let mut places = self.places.lock().await;
        if let Some(found) = places.get(sale)
            && found.at.elapsed() < BELIEVED
        {
            return Ok(Arc::clone(&found.place));
        }
        places.retain(|_, found| found.at.elapsed() < BELIEVED * 10);
        let object = self.flash_sale(sale)?;
        let (config, secret) = self.leads(sale, &object).await?;
        let versions = [config.resource_version(), secret.resource_version()];
        if let Some(found) = places.get_mut(sale)
            && found.versions == versions
        {
            found.at = Instant::now();
            return Ok(Arc::clone(&found.place));
        }
        let (config, leads) = way(&config, &secret, self.consent(&object))?;
        let place = Place::open(config, leads)
            .await
            .map_err(|error| unreached(&error))?;
        let place = Arc::new(place);
        place.keep();
        let found = Found {
            at: Instant::now(),
            versions,
            place: Arc::clone(&place),
        };
        places.insert(sale.clone(), found);
        Ok(place)
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
        let mut happenings = Vec::new();
        if let Some(created) = object.meta().creation_timestamp.as_ref() {
            happenings.push(happening(
                created.0,
                HappeningKind::Created,
                "The FlashSale was made.".to_owned(),
            ));
        }
        if let Ok(object) = &object.0 {
            happenings.extend(phases(object));
            happenings.extend(conditions(object));
        }
        let events: Api<Event> = Api::namespaced(self.client.clone(), &sale.namespace);
        let about = format!("regarding.kind=FlashSale,regarding.name={}", sale.name);
        let events = within(events.list(&ListParams::default().fields(&about).limit(MOST_EVENTS))).await?;
        happenings.extend(events.items.iter().filter_map(told));
        Ok(happenings)
    }

    pub(super) async fn set_doors(&self, sale: &SaleId, doors: Doors) -> Result<(), Problem> {
        let change = json!({"spec": {"halted": doors == Doors::Halted}});
        self.patch(sale, &change).await
    }

    pub(super) async fn change_stock(&self, sale: &SaleId, change: &StockChange) -> Result<(), Problem> {
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

/// What is there, as watches have it: one of the whole cluster, or one of each namespace. Each is by itself, so that a namespace which
/// cannot be read hides no other.
#[derive(Clone)]
struct Kept<K: kube::Resource<DynamicType = ()> + Clone + 'static>(Vec<reflector::Store<K>>);

impl<K> Kept<K>
where
    K: kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    /// Begins to watch.
    fn follow(
        client: &Client,
        namespaces: &[String],
        config: &watcher::Config,
        stop: &CancellationToken,
    ) -> (Self, BoxFuture<'static, ()>) {
        let apis: Vec<Api<K>> = if namespaces.is_empty() {
            vec![Api::all(client.clone())]
        } else {
            let of = |namespace: &String| Api::namespaced(client.clone(), namespace);
            namespaces.iter().map(of).collect()
        };
        let (mut stores, mut watches) = (Vec::new(), Vec::new());
        for api in apis {
            let (store, writer) = reflector::store::<K>();
            stores.push(store);
            let watch = watcher(api, config.clone()).default_backoff().reflect(writer);
            watches.push(watch.for_each(|seen| {
                if let Err(error) = seen {
                    tracing::warn!(%error, "cannot watch the cluster; trying on");
                }
                std::future::ready(())
            }));
        }
        let stop = stop.clone();
        let following = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = join_all(watches) => {}
            }
        };
        (Self(stores), following.boxed())
    }

    fn all(&self) -> Vec<Arc<K>> {
        self.0.iter().flat_map(reflector::Store::state).collect()
    }

    fn get(&self, sale: &SaleId) -> Option<Arc<K>> {
        let reference = reflector::ObjectRef::new(&sale.name).within(&sale.namespace);
        self.0.iter().find_map(|store| store.get(&reference))
    }

    fn is_ready(&self) -> impl Future<Output = ()> + use<K> {
        let stores = self.0.clone();
        async move {
            for store in stores {
                // It ends with its watch, which goes on for ever.
                let _ended = store.wait_until_ready().await;
            }
        }
    }
}

/// Gives a call to the API server its deadline, and says what people should know of its refusal.
async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Problem> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(refusal))) => Err(refused(&refusal)),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the API server was not reached");
            Err(no_api_server())
        }
        Err(_) => Err(no_api_server()),
    }
}

fn no_api_server() -> Problem {
    Problem::new(
        Code::Busy,
        "Kubernetes' API server gave no answer; of a change it is not known whether it was made. Look before you try again.",
    )
    .retry_after(2)
}

fn refused(refusal: &kube::core::Status) -> Problem {
    let said = &refusal.message;
    match refusal.code {
        403 => Problem::new(
            Code::Forbidden,
            format!("Kubernetes does not let this console do that: {said}."),
        ),
        404 => unknown(),
        409 => Problem::new(
            Code::StaleVersion,
            "Somebody has changed this FlashSale at the same moment; look at it and decide anew.",
        ),
        422 | 400 => Problem::new(
            Code::InvalidRequest,
            format!("Kubernetes refuses this change: {said}."),
        ),
        _ => {
            tracing::warn!(code = refusal.code, said, "the API server refused");
            no_api_server()
        }
    }
}

/// What is known of a sale from its object alone.
fn known(object: &Readable) -> Option<Known> {
    let sale = SaleId {
        namespace: object.namespace()?,
        name: object.name_any(),
    };
    let sale = match &object.0 {
        Ok(read) => readable(sale, read),
        Err(error) => unreadable(sale, &error.error),
    };
    Some(sale)
}

fn unreadable(sale: SaleId, why: &str) -> Known {
    let condition = Condition {
        kind: "Readable".to_owned(),
        status: "False".to_owned(),
        reason: "Unreadable".to_owned(),
        message: format!("This version cannot read the FlashSale: {why}."),
        since: None,
        good: Some(false),
    };
    Known {
        summary: Summary {
            sale,
            phase: ShownPhase::UNREADABLE,
            mode: "Sale",
            opens_at: None,
            closes_at: None,
            halted: false,
            message: condition.message.clone(),
            url: None,
            units: Units::default(),
            orders: None,
            attention: vec![condition.clone()],
        },
        conditions: vec![condition],
        retain_for: None,
        steering: Steering::None,
    }
}

fn readable(sale: SaleId, object: &FlashSale) -> Known {
    let status = object.status.clone().unwrap_or_default();
    let stated: Vec<_> = status.conditions.iter().map(condition).collect();
    let account = |product: &crds::status::ProductStatus| Units {
        stock: product.stock,
        available: product.available,
        reserved: product.reserved,
        sold: product.sold,
    };
    let units: Units = if status.products.is_empty() {
        // Nothing was brought to the inventory yet: all that there will be.
        let stock = object.spec.products.iter().map(|product| product.stock).sum();
        Units {
            stock,
            available: stock,
            ..Units::default()
        }
    } else {
        status.products.iter().map(account).sum()
    };
    Known {
        summary: Summary {
            sale,
            phase: ShownPhase::Known(status.phase()),
            mode: match object.spec.mode {
                Mode::Sale => "Sale",
                Mode::Rehearsal => "Rehearsal",
            },
            opens_at: status.opens_at.or(object.spec.opens_at),
            closes_at: status.closes_at.or(object.spec.closes_at),
            halted: object.spec.halted,
            message: status
                .message
                .clone()
                .unwrap_or_else(|| "The operator has not looked at it yet.".to_owned()),
            url: status.url.clone(),
            units,
            orders: status.orders.map(|orders| counts(&orders)),
            attention: stated
                .iter()
                .filter(|condition| condition.good == Some(false))
                .cloned()
                .collect(),
        },
        conditions: stated,
        retain_for: Some(object.spec.retain_for.as_str().to_owned()),
        steering: Steering::FlashSale,
    }
}

/// The operator counts what failed, was cancelled and expired as one.
fn counts(orders: &crds::status::OrderNumbers) -> Counts {
    let number = |orders: i64| u64::try_from(orders).unwrap_or_default();
    Counts {
        accepted: number(orders.accepted),
        pending: number(orders.pending),
        confirmed: number(orders.confirmed),
        failed: number(orders.failed),
        ..Counts::default()
    }
}

fn condition(stated: &Stated) -> Condition {
    Condition {
        kind: stated.type_.clone(),
        status: stated.status.clone(),
        reason: stated.reason.clone(),
        message: stated.message.clone(),
        since: Some(stated.last_transition_time),
        good: is_good(&stated.type_, &stated.status),
    }
}

/// Whether a condition is as it should be. A sale is halted because somebody wants it so, and what is not known is neither.
fn is_good(kind: &str, status: &str) -> Option<bool> {
    let holds = match status {
        "True" => true,
        "False" => false,
        _ => return None,
    };
    if kind == ConditionType::Halted.as_str() {
        return None;
    }
    Some(holds != (kind == ConditionType::Degraded.as_str()))
}

fn happening(at: Timestamp, kind: HappeningKind, text: String) -> Happening {
    Happening {
        at,
        kind,
        text,
        who: None,
        detail: None,
    }
}

fn phases(object: &FlashSale) -> Vec<Happening> {
    let Some(status) = &object.status else {
        return Vec::new();
    };
    let now = Timestamp::now();
    let times = [
        (status.opens_at.filter(|at| *at <= now), "It opened."),
        (
            status.draining_since,
            "It stopped taking orders and began to settle those accepted.",
        ),
        (
            status.ended_at,
            "Every order was settled, and the report was written.",
        ),
        (status.data_wiped_at, "The data of the rehearsal was wiped."),
    ];
    let told = times.into_iter().filter_map(|(at, text)| Some((at?, text)));
    told.map(|(at, text)| happening(at, HappeningKind::Phase, text.to_owned()))
        .collect()
}

fn conditions(object: &FlashSale) -> Vec<Happening> {
    let stated = object.status.iter().flat_map(|status| &status.conditions);
    stated
        .map(|stated| {
            let text = format!("{} became {}: {}", stated.type_, stated.status, stated.message);
            happening(stated.last_transition_time, HappeningKind::Condition, text)
        })
        .collect()
}

fn told(event: &Event) -> Option<Happening> {
    let last = event.series.as_ref().map(|series| series.last_observed_time.0);
    let at = last.or(event.event_time.as_ref().map(|at| at.0))?;
    let text = event
        .note
        .clone()
        .filter(|note| !note.is_empty())
        .or(event.reason.clone())?;
    Some(Happening {
        who: event.reporting_controller.clone(),
        detail: event.reason.clone(),
        ..happening(at, HappeningKind::Event, text)
    })
}

fn process(pod: &Pod) -> Process {
    let status = pod.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten();
    let ready = conditions
        .into_iter()
        .any(|one| one.type_ == "Ready" && one.status == "True");
    let (component, name) = (
        pod.labels().get(COMPONENT).cloned().unwrap_or_default(),
        pod.name_any(),
    );
    let runs = status.and_then(|status| status.phase.as_deref()) == Some("Running");
    let address = status
        .and_then(|status| status.pod_ip.as_deref())
        .filter(|_| runs);
    let url = address.and_then(|address| {
        let host = if address.contains(':') {
            format!("[{address}]")
        } else {
            address.to_owned()
        };
        format!("http://{host}:{}/metrics", ports::ADMIN).parse().ok()
    });
    Process {
        target: url.map(|url| Target {
            component: component.clone(),
            name: name.clone(),
            url,
        }),
        component,
        name,
        ready,
    }
}

/// The way to a sale's data, as the operator has written it down.
fn way(map: &ConfigMap, secret: &Secret, plaintext: PlaintextPasswords) -> Result<(Config, Leads), Problem> {
    let text = map.data.as_ref().and_then(|data| data.get("config.json"));
    let config: Config = text
        .and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| Problem::new(Code::Busy, "This version cannot read the sale's configuration."))?;
    Leads::read(&values(secret, plaintext))
        .map(|leads| (config, leads))
        .map_err(|error| unreached(&error))
}

fn unreached(error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!(%error, "a sale's data cannot be reached");
    Problem::new(Code::Busy, format!("The sale's data cannot be reached: {error}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_good_depends_on_the_condition() {
        assert_eq!(is_good("Ready", "True"), Some(true));
        assert_eq!(is_good("Ready", "False"), Some(false));
        assert_eq!(is_good("Degraded", "True"), Some(false));
        assert_eq!(is_good("Degraded", "False"), Some(true));
        assert_eq!(is_good("Halted", "True"), None);
        assert_eq!(is_good("StockConserved", "Unknown"), None);
    }

    #[test]
    fn a_process_is_asked_where_its_pod_runs() {
        let pod = |phase: &str, ip: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "laptops-order-1", "labels": {(COMPONENT): "order"}},
                "status": {"phase": phase, "podIP": ip, "conditions": [{"type": "Ready", "status": "True"}]},
            }))
            .unwrap()
        };
        let running = process(&pod("Running", "fd00::7"));
        assert_eq!((running.component.as_str(), running.ready), ("order", true));
        assert_eq!(
            running.target.unwrap().url.as_str(),
            "http://[fd00::7]:9090/metrics"
        );
        assert_eq!(process(&pod("Succeeded", "10.0.0.7")).target, None);
    }
}
