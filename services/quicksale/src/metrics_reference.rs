//! What each process counts, and its reference: `docs/metrics.md`.

use crate::process::Role;
use platform::{
    backends::{certificates, kafka, mongo},
    metrics::{self, Metric, Part},
};
use std::{collections::HashSet, process::ExitCode};

/// What the metrics themselves do not say, written by hand.
const HEAD: &str = include_str!("docs/metrics_head.md");

/// Registers what a service counts beyond what every process does: it is shown as zero from now on.
pub(crate) fn register(role: Role) -> Vec<Metric> {
    match role {
        Role::Gateway => gateway::metrics(),
        Role::Auth => auth::metrics(),
        Role::Inventory => inventory::metrics(),
        Role::Order => order::metrics(),
        Role::Processor => processor::metrics(),
        Role::Notifier => notifier::metrics(),
    }
}

/// Prints the reference.
pub(crate) fn print() -> anyhow::Result<ExitCode> {
    print!("{HEAD}{}", metrics::reference(&parts()));
    Ok(ExitCode::SUCCESS)
}

/// All metrics of the services, each in one part only.
fn parts() -> Vec<Part> {
    let part = |heading, what, metrics| Part {
        heading,
        what,
        metrics,
    };
    let mut parts = vec![
        part(
            "Every process",
            "All services, the operator and the console; those with `service` are of the server that it names, `admin` among them.",
            metrics::of_every_process(),
        ),
        part(
            "Database",
            "Auth, inventory, order, processor, notifier, the operator and the console.",
            mongo::metrics(),
        ),
        part(
            "Kafka",
            "Inventory, order, processor, notifier, the operator and the console. What the operator asks of topics themselves is not among it.",
            kafka::metrics(),
        ),
        part(
            "Certificates",
            "Services, of the backends that they use TLS with.",
            certificates::metrics(),
        ),
        part(
            "Lanes",
            "Inventory, order and notifier, by their group: each reads some partitions of the sale's topics.",
            events::metrics("order"),
        ),
    ];
    let of_roles = [
        (
            Role::Auth,
            "Audit trail",
            "Auth, the gateway, order, the operator and the console.",
        ),
        (Role::Gateway, "Gateway", "The front door."),
        (Role::Order, "Order", "Orders from their acceptance to their end."),
        (
            Role::Inventory,
            "Inventory",
            "Units, the books, and the gate's counts.",
        ),
        (
            Role::Processor,
            "Processor",
            "The relay from the outbox to Kafka; one process of a sale is it, and shows what waits.",
        ),
        (Role::Notifier, "Notifier", "WebSockets."),
    ];
    parts.extend(of_roles.map(|(role, heading, what)| part(heading, what, register(role))));
    let mut seen = HashSet::new();
    for part in &mut parts {
        part.metrics
            .retain(|metric| metric.desc().iter().any(|desc| seen.insert(desc.id)));
    }
    parts.retain(|part| !part.metrics.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api_document;
    use std::path::Path;

    /// The names of metrics in the sources of a directory.
    fn declared(directory: &Path, names: &mut HashSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                declared(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = std::fs::read_to_string(&path).unwrap();
                // The name is the first text of a macro that registers.
                for registered in source.split("(register_").skip(1) {
                    let name = registered.split('"').nth(1).unwrap_or_default();
                    if name.starts_with("quicksale_") || name.starts_with("kafka_") {
                        names.insert(name.to_owned());
                    }
                }
            }
        }
    }

    #[test]
    fn every_metric_of_the_services_is_in_the_reference() {
        let mut names = HashSet::new();
        for service in std::fs::read_dir("..").unwrap() {
            let sources = service.unwrap().path().join("src");
            if sources.is_dir() {
                declared(&sources, &mut names);
            }
        }
        assert!(names.len() > 40, "{names:?}");
        let reference = metrics::reference(&parts());
        let is_missing = |name: &&String| !reference.contains(&format!("| `{name}` |"));
        let missing: Vec<&String> = names.iter().filter(is_missing).collect();
        assert!(missing.is_empty(), "add them to a `metrics()`: {missing:?}");
    }

    #[test]
    fn a_service_shows_its_series_before_anything_has_happened() {
        for role in Role::ALL {
            register(role);
        }
        let routes = api_document::successes(Role::Order);
        assert!(
            routes.contains(&("POST", "/api/orders".to_owned(), "201".to_owned())),
            "{routes:?}"
        );
        let shown = metrics::render();
        for series in [
            "quicksale_orders_accepted_total 0",
            r#"quicksale_orders_ended_total{status="EXPIRED"} 0"#,
            r#"quicksale_orders_refused_total{code="sold_out"} 0"#,
            r#"quicksale_lane_losses_total{cause="cut_off",group="notifier"} 0"#,
            r#"quicksale_dead_letters_total{group="inventory",topic="order.status"} 0"#,
            r#"quicksale_audit_events_total{action="login",outcome="refused"} 0"#,
            r#"quicksale_gate_script_duration_seconds_count{script="take"} 0"#,
            "quicksale_outbox_relaying 0",
        ] {
            assert!(shown.contains(series), "{series} in {shown}");
        }
    }
}
