//! The pods of a sale as its processes.

use super::super::Process;
use crate::scrape::Target;
use crds::names::{COMPONENT_LABEL, SALE_LABEL};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use platform::config::ports;
use sale::SaleId;

/// Whether a pod is of a sale.
pub(super) fn is_of(pod: &Pod, sale: &SaleId) -> bool {
    pod.namespace().as_deref() == Some(&sale.namespace) && pod.labels().get(SALE_LABEL) == Some(&sale.name)
}

pub(super) fn process(pod: &Pod) -> Process {
    let status = pod.status.as_ref();
    let conditions = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten();
    let ready = conditions
        .into_iter()
        .any(|one| one.type_ == "Ready" && one.status == "True");
    let (component, name) = (
        pod.labels().get(COMPONENT_LABEL).cloned().unwrap_or_default(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_process_is_asked_where_its_pod_runs() {
        let pod = |phase: &str, ip: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "laptops-order-1", "labels": {(COMPONENT_LABEL): "order"}},
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
