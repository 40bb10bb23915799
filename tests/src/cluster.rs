//! An API server to apply FlashSales to: the one that `KUBECONFIG` leads to.

use anyhow::{Context, Result, bail};
use crds::FlashSale;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::{io::AsyncWriteExt, process::Command};

/// A client and a namespace of the test's own.
pub struct Cluster {
    /// The client.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl Cluster {
    /// Connects, and works in a namespace that is there.
    pub async fn in_namespace(namespace: &str) -> Result<Self> {
        let client = Client::try_default().await.context(
            "KUBECONFIG must lead to a running API server: hack/apiserver.sh start, or hack/up.sh",
        )?;
        let namespace = namespace.to_owned();
        Ok(Self { client, namespace })
    }

    /// Connects, and makes a namespace whose name begins with `prefix`. Its label tells the next run what a failed
    /// test has left.
    pub async fn with_namespace(prefix: &str) -> Result<Self> {
        let name = format!("{prefix}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let cluster = Self::in_namespace(&name).await?;
        let labels = json!({
            "quicksale.io/made-by": "tests",
            "pod-security.kubernetes.io/enforce": "restricted",
            "quicksale.io/backends": "shared",
        });
        let new: Namespace = serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))?;
        Api::<Namespace>::all(cluster.client.clone())
            .create(&PostParams::default(), &new)
            .await?;
        Ok(cluster)
    }

    /// Deletes the namespace, at the end of a test that passed.
    pub async fn leave(self) -> Result<()> {
        Api::<Namespace>::all(self.client)
            .delete(&self.namespace, &DeleteParams::default())
            .await?;
        Ok(())
    }

    /// Objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn raw_sales(&self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<FlashSale>(&());
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    /// Creates a FlashSale with this spec.
    pub async fn sell(&self, name: &str, spec: &Value) -> Result<()> {
        let sale = json!({
            "apiVersion": "quicksale.io/v1alpha1", "kind": "FlashSale",
            "metadata": {"name": name, "namespace": self.namespace}, "spec": spec,
        });
        let sale: DynamicObject = serde_json::from_value(sale)?;
        self.raw_sales().create(&PostParams::default(), &sale).await?;
        Ok(())
    }

    /// Changes a FlashSale by a merge patch of its spec.
    pub async fn edit(&self, name: &str, spec: &Value) -> Result<()> {
        let patch = json!({"spec": spec});
        self.raw_sales()
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        Ok(())
    }

    /// A FlashSale as it stands.
    pub async fn sale(&self, name: &str) -> Result<FlashSale> {
        Ok(self.api::<FlashSale>().get(name).await?)
    }
}

/// What the API server said to something that it refused.
pub fn refusal(result: Result<()>) -> Result<String> {
    let Err(error) = result else {
        bail!("the API server took it");
    };
    match error.downcast::<kube::Error>()? {
        kube::Error::Api(status) => Ok(status.message),
        other => bail!("not a refusal: {other}"),
    }
}

/// The spec of a small sale of one product.
pub fn small_sale() -> Value {
    json!({
        "products": [{"sku": "A-1", "name": "A thing", "price": "799.99", "stock": 50, "limitPerCustomer": 1}],
        "kafka": {"partitions": 2},
        "services": {"gateway": {"replicas": {"min": 1}}},
    })
}

/// Runs a command with an input and returns its output; fails with what it said. What else the test does goes on
/// meanwhile.
pub async fn command(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{program} is not installed: hack/tools.sh {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        bail!(
            "{program} {}: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}
