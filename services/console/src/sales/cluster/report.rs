//! The report of a sale that has ended, in the ConfigMap that the operator has written.

use crds::{
    FlashSale,
    names::{REPORT_LABEL, SALE_UID_ANNOTATION},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use platform::http::problem::{Code, Problem};
use serde_json::value::RawValue;

/// Its name, where there is one.
pub(super) fn name(sale: &FlashSale) -> Option<&str> {
    let named = sale.status.as_ref()?.report_ref.as_ref()?;
    Some(&named.name)
}

/// What it says, as it was written. Whoever may write a status could name any ConfigMap there, so it must be this sale's report by what it
/// says of itself.
pub(super) fn read(sale: &FlashSale, map: &ConfigMap) -> Result<Box<RawValue>, Problem> {
    let name = map.name_any();
    let is_its_own = map.labels().get(REPORT_LABEL) == Some(&sale.name_any())
        && sale
            .uid()
            .is_some_and(|uid| map.annotations().get(SALE_UID_ANNOTATION) == Some(&uid));
    if !is_its_own {
        return Err(Problem::new(
            Code::Forbidden,
            format!("The ConfigMap {name} is not the report of this sale, so it is not shown."),
        ));
    }
    let text = map.data.as_ref().and_then(|data| data.get("report.json"));
    text.and_then(|text| serde_json::from_str(text).ok())
        .ok_or_else(|| Problem::internal(&format!("the ConfigMap {name} has no report.json that is JSON")))
}

/// The sale has none.
pub(super) fn none() -> Problem {
    Problem::new(
        Code::NotFound,
        "This sale has no report yet: the operator writes it when every order has its end.",
    )
}

/// Somebody has deleted it.
pub(super) fn gone(name: &str) -> Problem {
    Problem::new(
        Code::NotFound,
        format!(
            "The report of this sale, {name}, is not there any more: reports are deleted by people, or with their namespace."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const WRITTEN: &str = "{\n  \"version\": \"quicksale.io/report/v1\",\n  \"missing\": []\n}";

    fn sale() -> FlashSale {
        let object = json!({
            "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
            "metadata": {"name": "laptops", "namespace": "shop", "uid": "u1"},
            "spec": {"products": [{"sku": "A", "name": "A", "price": "1.00", "stock": 7}]},
            "status": {"reportRef": {"name": "laptops-report-1"}},
        });
        serde_json::from_value(object).unwrap()
    }

    fn shown(label: &str, uid: &str, text: &str) -> Result<String, Code> {
        let map = json!({
            "metadata": {"name": "laptops-report-1", "labels": {(REPORT_LABEL): label}, "annotations": {(SALE_UID_ANNOTATION): uid}},
            "data": {"report.json": text},
        });
        read(&sale(), &serde_json::from_value(map).unwrap())
            .map(|report| report.get().to_owned())
            .map_err(|problem| problem.code)
    }

    #[test]
    fn a_report_is_shown_as_it_was_written_and_for_its_own_sale_only() {
        assert_eq!(name(&sale()), Some("laptops-report-1"));
        assert_eq!(shown("laptops", "u1", WRITTEN).as_deref(), Ok(WRITTEN));
        assert_eq!(shown("phones", "u1", WRITTEN), Err(Code::Forbidden));
        assert_eq!(shown("laptops", "u2", WRITTEN), Err(Code::Forbidden));
        assert_eq!(shown("laptops", "u1", "no JSON"), Err(Code::Internal));
        let unmarked = json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"report.json": "{}"}});
        let refused = read(&sale(), &serde_json::from_value(unmarked).unwrap()).unwrap_err();
        assert_eq!(refused.code, Code::Forbidden);
    }
}
