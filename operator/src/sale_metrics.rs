//! The sales as metrics. They are read from what the leader watches whenever somebody asks, so they are as old as the watch and cost
//! nothing in between; a replica that does not lead shows none.

use crds::{FlashSaleStatus, Readable};
use jiff::Timestamp;
use kube::{ResourceExt, runtime::reflector::Store};
use platform::metrics::must;
use prometheus::{
    GaugeVec, IntGaugeVec, Opts,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use sale::phase::Phase;
use std::sync::{Arc, LazyLock};

/// All phases, in their order.
const PHASES: [Phase; 5] = [
    Phase::Pending,
    Phase::Warming,
    Phase::Live,
    Phase::Draining,
    Phase::Ended,
];
/// What tells one sale from another. The label `namespace` is that of the pod that was scraped.
const SALE: [&str; 2] = ["sale_namespace", "sale"];

/// Shows the sales of a watch for as long as it is kept.
#[derive(Debug)]
pub struct ShownSales(SaleMetrics);

impl ShownSales {
    /// From now on. Of two watches in one process the first is shown.
    pub fn of(watched: Store<Readable>) -> Self {
        let metrics = SaleMetrics(Source::Watch(watched));
        if let Err(error) = prometheus::register(Box::new(metrics.clone())) {
            tracing::debug!(%error, "the sales are shown already");
        }
        Self(metrics)
    }
}

impl Drop for ShownSales {
    fn drop(&mut self) {
        if let Err(error) = prometheus::unregister(Box::new(self.0.clone())) {
            tracing::debug!(%error, "the sales were not shown");
        }
    }
}

/// The sales as a collector.
#[derive(Debug, Clone)]
pub struct SaleMetrics(Source);

#[derive(Debug, Clone)]
enum Source {
    Watch(Store<Readable>),
    /// These.
    Fixed(Arc<[Arc<Readable>]>),
}

impl SaleMetrics {
    /// Of certain sales.
    pub fn fixed(sales: impl IntoIterator<Item = Readable>) -> Self {
        Self(Source::Fixed(sales.into_iter().map(Arc::new).collect()))
    }

    fn sales(&self) -> Vec<Arc<Readable>> {
        match &self.0 {
            Source::Watch(watched) => watched.state(),
            Source::Fixed(sales) => sales.to_vec(),
        }
    }
}

impl Collector for SaleMetrics {
    fn desc(&self) -> Vec<&Desc> {
        // Of the same names and labels whenever they are made.
        static SHAPE: LazyLock<Gauges> = LazyLock::new(Gauges::new);
        SHAPE.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let gauges = Gauges::new();
        for sale in self.sales() {
            gauges.add(&sale);
        }
        gauges.all().into_iter().flat_map(Collector::collect).collect()
    }
}

/// One scrape.
struct Gauges {
    sales: IntGaugeVec,
    phase: IntGaugeVec,
    condition: IntGaugeVec,
    opens: GaugeVec,
    closes: GaugeVec,
    draining: GaugeVec,
}

impl Gauges {
    fn new() -> Self {
        let with = |labels: &[&'static str]| [&SALE, labels].concat();
        let whole =
            |name: &str, help: &str, labels: &[&str]| must(IntGaugeVec::new(Opts::new(name, help), labels));
        let time = |name: &str, help: &str| must(GaugeVec::new(Opts::new(name, help), &SALE));
        let gauges = Self {
            sales: whole(
                "quicksale_operator_sales",
                "Sales by phase, and those that cannot be read (Unreadable).",
                &["phase"],
            ),
            phase: whole(
                "quicksale_sale_phase",
                "1 for the phase that a sale is in, 0 for the others.",
                &with(&["phase"]),
            ),
            condition: whole(
                "quicksale_sale_condition",
                "A condition of a sale: 1 is True, 0 False, -1 Unknown.",
                &with(&["condition"]),
            ),
            opens: time(
                "quicksale_sale_opens_timestamp_seconds",
                "When a sale opens or opened, as seconds since 1970.",
            ),
            closes: time(
                "quicksale_sale_closes_timestamp_seconds",
                "When a sale closes or closed; missing where it goes on until it is sold out or closed by hand.",
            ),
            draining: time(
                "quicksale_sale_draining_since_timestamp_seconds",
                "When a sale stopped taking orders; missing before that.",
            ),
        };
        for phase in PHASES.map(Phase::as_str).into_iter().chain(["Unreadable"]) {
            gauges.sales.with_label_values(&[phase]);
        }
        gauges
    }

    fn all(&self) -> [&dyn Collector; 6] {
        [
            &self.sales,
            &self.phase,
            &self.condition,
            &self.opens,
            &self.closes,
            &self.draining,
        ]
    }

    fn add(&self, sale: &Readable) {
        let Ok(sale) = &sale.0 else {
            self.sales.with_label_values(&["Unreadable"]).inc();
            return;
        };
        let (namespace, name) = (sale.namespace().unwrap_or_default(), sale.name_any());
        let of_sale = [namespace.as_str(), name.as_str()];
        let status = sale.status.as_ref();
        let current = status.map_or(Phase::Pending, FlashSaleStatus::phase);
        self.sales.with_label_values(&[current.as_str()]).inc();
        for phase in PHASES {
            let labels = [of_sale[0], of_sale[1], phase.as_str()];
            self.phase
                .with_label_values(&labels)
                .set(i64::from(phase == current));
        }
        for condition in status.into_iter().flat_map(|status| &status.conditions) {
            let value = match condition.holds() {
                Some(true) => 1,
                Some(false) => 0,
                None => -1,
            };
            self.condition
                .with_label_values(&[of_sale[0], of_sale[1], &condition.type_])
                .set(value);
        }
        let times = [
            // What is asked for, until it is in status.
            (
                &self.opens,
                status.and_then(|s| s.opens_at).or(sale.spec.opens_at),
            ),
            (&self.closes, status.and_then(|s| s.closes_at)),
            (&self.draining, status.and_then(|s| s.draining_since)),
        ];
        for (gauge, at) in times {
            if let Some(at) = at {
                gauge.with_label_values(&of_sale).set(seconds(at));
            }
        }
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::TextEncoder;
    use serde_json::json;

    #[test]
    fn each_sale_says_where_it_stands_and_one_that_cannot_be_read_is_counted() {
        let sale = |name: &str, status: serde_json::Value| -> Readable {
            serde_json::from_value(json!({
                "apiVersion": "quicksale.io/v1alpha1",
                "kind": "FlashSale",
                "metadata": {"name": name, "namespace": "shop"},
                "spec": {"opensAt": "2026-11-27T09:00:00Z", "products": []},
                "status": status,
            }))
            .unwrap()
        };
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "lastTransitionTime": "2026-11-27T08:59:00Z"});
        let live = json!({
            "phase": "Live",
            "opensAt": "2026-11-27T09:00:01Z",
            "conditions": [condition("Ready", "True"), condition("Halted", "False"), condition("StockConserved", "Unknown")],
        });
        let broken: Readable = serde_json::from_value(json!({
            "apiVersion": "quicksale.io/v1alpha1",
            "kind": "FlashSale",
            "metadata": {"name": "broken", "namespace": "shop"},
            "spec": 7,
        }))
        .unwrap();
        assert!(broken.0.is_err());
        let metrics = SaleMetrics::fixed([sale("laptops", live), sale("new", json!({})), broken]);
        // As the registry does with those that have nothing to say.
        let families = metrics.collect().into_iter();
        let families: Vec<MetricFamily> = families
            .filter(|family| !family.get_metric().is_empty())
            .collect();
        let shown = TextEncoder::new().encode_to_string(&families).unwrap();
        for series in [
            r#"quicksale_operator_sales{phase="Live"} 1"#,
            r#"quicksale_operator_sales{phase="Pending"} 1"#,
            r#"quicksale_operator_sales{phase="Unreadable"} 1"#,
            r#"quicksale_operator_sales{phase="Ended"} 0"#,
            r#"quicksale_sale_phase{phase="Live",sale="laptops",sale_namespace="shop"} 1"#,
            r#"quicksale_sale_phase{phase="Warming",sale="laptops",sale_namespace="shop"} 0"#,
            r#"quicksale_sale_condition{condition="Ready",sale="laptops",sale_namespace="shop"} 1"#,
            r#"quicksale_sale_condition{condition="Halted",sale="laptops",sale_namespace="shop"} 0"#,
            r#"quicksale_sale_condition{condition="StockConserved",sale="laptops",sale_namespace="shop"} -1"#,
            r#"quicksale_sale_opens_timestamp_seconds{sale="laptops",sale_namespace="shop"} 1795770001"#,
            r#"quicksale_sale_opens_timestamp_seconds{sale="new",sale_namespace="shop"} 1795770000"#,
        ] {
            assert!(shown.contains(&format!("{series}\n")), "{series} in {shown}");
        }
        assert!(!shown.contains("draining_since_timestamp_seconds{"), "{shown}");
        assert_eq!(metrics.desc().len(), metrics.collect().len());
    }
}
