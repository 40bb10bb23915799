//! Hundreds of sales under one operator: what it asks of the API server, how much memory it has, how soon a switch is in force, and how
//! soon all is steady after it was killed.
//!
//! Not run beside the other tests, because it counts: `hack/bench-operator.sh` runs it with 500 sales, and `hack/test.sh apiserver` with
//! a few. There are no nodes, so the doors of the open sales are here: the services' own endpoint of control documents, at the addresses
//! of pods that this test has made.

use super::{
    chart::{NAMESPACE, install, operator_command, operators_kubeconfig, told_by_the_chart},
    doors::{Door, pod, ready_at},
};
use anyhow::{Result, ensure};
use crds::FlashSale;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use platform::clock::Clock;
use quicksale_tests::{
    cluster::{Cluster, small_sale},
    ports,
    world::eventually,
};
use serde_json::{Value, json};
use std::{
    net::Ipv4Addr,
    process::{Child, Command},
    sync::Arc,
    time::{Duration, Instant},
};

/// Sales of one namespace.
const A_NAMESPACE: usize = 50;
/// Done at once by the test itself.
const AT_ONCE: usize = 16;
/// How long all of them may take to be made.
const MADE: Duration = Duration::from_secs(300);
/// How long everything may take to be steady after the operator was killed.
const STEADY: Duration = Duration::from_secs(30);
/// The most requests a second of a quiet minute.
const QUIET: f64 = 5.0;
/// A switch is in force within this, for 99 of 100.
const SWITCHED: Duration = Duration::from_secs(1);
/// The most memory of the operator, in MiB, for 500 sales.
const MEMORY: f64 = 64.0;

/// Where a sale stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pending,
    Warming,
    Live,
    Draining,
}

struct One {
    cluster: Arc<Cluster>,
    name: String,
    stage: Stage,
    number: usize,
}

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual)
}

/// The operator, which ends with this.
struct Operator {
    process: Child,
    port: u16,
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _gone = self.process.kill().and_then(|()| self.process.wait().map(drop));
    }
}

impl Operator {
    async fn start() -> Result<Self> {
        let config = operators_kubeconfig(NAMESPACE, "quicksale").await?;
        let [port] = ports::free()?;
        let mut command: Command = operator_command(&config, "many", port);
        command
            .envs(told_by_the_chart(NAMESPACE, "quicksale").await?)
            .env("POD_NAMESPACE", NAMESPACE)
            .env("QUICKSALE_IMAGE", "quicksale:test");
        let process = command.spawn()?;
        Ok(Self { process, port })
    }

    /// The sum of a metric over the labels that begin like this.
    async fn metric(&self, series: &str) -> Result<f64> {
        let text = reqwest::get(format!("http://127.0.0.1:{}/metrics", self.port))
            .await?
            .text()
            .await?;
        let lines = text.lines().filter(|line| line.starts_with(series));
        Ok(lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum())
    }

    async fn requests(&self) -> Result<f64> {
        self.metric("quicksale_operator_api_requests_total{").await
    }

    /// Waits until it asks for little more than its Lease.
    async fn is_quiet(&self, within: Duration) -> Result<()> {
        eventually(within, "the operator has nothing to do", async || {
            let before = self.requests().await.unwrap_or(f64::MAX);
            tokio::time::sleep(Duration::from_secs(3)).await;
            let asked = self.requests().await.unwrap_or(0.0) - before;
            Ok((0.0..3.0 * QUIET).contains(&asked))
        })
        .await
    }
}

fn spec(stage: Stage) -> Value {
    let mut spec = small_sale();
    if stage == Stage::Pending {
        spec["opensAt"] = json!("2126-12-01T12:00:00Z");
    }
    spec
}

impl One {
    fn address(&self, last: u8) -> Result<Ipv4Addr> {
        let (high, low) = (self.number / 250, self.number % 250);
        Ok(Ipv4Addr::new(
            127,
            20 + u8::try_from(high)?,
            u8::try_from(low)?,
            last,
        ))
    }

    async fn make(&self) -> Result<()> {
        self.cluster.sell(&self.name, &spec(self.stage)).await
    }

    async fn status(&self, status: &Value) -> Result<()> {
        let sales = self.cluster.api::<FlashSale>();
        let patch = Patch::Merge(json!({"status": status}));
        sales
            .patch_status(&self.name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// Brings it where it is to stand, with doors if it is open.
    async fn place(&self) -> Result<Vec<Door>> {
        let mut doors = Vec::new();
        if self.stage == Stage::Live {
            for (service, last) in [("gateway", 1), ("order", 2)] {
                let address = self.address(last)?;
                doors.push(Door::open(&self.cluster, &self.name, address, Clock::System).await?);
                pod(&self.cluster, &self.name, service, &ready_at(address)).await?;
            }
        }
        self.write_stage().await?;
        Ok(doors)
    }

    /// Writes the status of its stage, where the operator does not come to that by itself.
    async fn write_stage(&self) -> Result<()> {
        let since = "2026-01-01T00:00:00Z";
        let open = json!({"phase": "Live", "opensAt": since, "openedAt": since});
        match self.stage {
            Stage::Pending | Stage::Warming => Ok(()),
            Stage::Live => self.status(&open).await,
            Stage::Draining => {
                let mut over = open;
                over["phase"] = json!("Draining");
                over["drainingSince"] = json!(Timestamp::now());
                self.status(&over).await
            }
        }
    }
}

/// How long a switch takes, from before it is asked for: until the API server has taken it, and until every door goes by it.
async fn switch(one: &One, doors: &[Door], halted: bool) -> Result<[Duration; 2]> {
    let asked = Instant::now();
    one.cluster.edit(&one.name, &json!({"halted": halted})).await?;
    let taken = asked.elapsed();
    let end = asked + Duration::from_secs(20);
    while !doors.iter().all(|door| door.control.current().halted == halted) {
        ensure!(Instant::now() < end, "{} was not told within 20 s", one.name);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok([taken, asked.elapsed()])
}

async fn deployed(clusters: &[Arc<Cluster>]) -> Result<usize> {
    let mut all = 0;
    for cluster in clusters {
        let api: Api<Deployment> = cluster.api();
        all += api.list_metadata(&ListParams::default()).await?.items.len();
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "counts what the operator asks for, so it runs alone: hack/bench-operator.sh"]
async fn hundreds_of_sales_under_one_operator() -> Result<()> {
    let count = number("QUICKSALE_MANY", 40);
    // Times and sizes are for the bench: beside other work on a small machine they say nothing.
    let is_bench = count >= 500;
    let steady = if is_bench { STEADY } else { MADE };
    let quiet = Duration::from_secs(u64::try_from(number("QUICKSALE_QUIET_SECONDS", 20))?);
    install().await?;
    let operator = Operator::start().await?;
    let mut clusters = Vec::new();
    for _ in 0..count.div_ceil(A_NAMESPACE) {
        clusters.push(Arc::new(Cluster::with_namespace("many").await?));
    }
    let stages = [Stage::Pending, Stage::Warming, Stage::Live, Stage::Draining];
    let sales: Vec<Arc<One>> = (0..count)
        .map(|number| {
            Arc::new(One {
                cluster: Arc::clone(&clusters[number / A_NAMESPACE]),
                name: format!("sale-{number}"),
                stage: stages[number % stages.len()],
                number,
            })
        })
        .collect();
    let began = Instant::now();
    stream::iter(&sales)
        .map(|one| one.make())
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    let with_services = sales.iter().filter(|one| one.stage != Stage::Pending).count();
    eventually(MADE, "all services are made", async || {
        Ok(deployed(&clusters).await? == with_services * 6)
    })
    .await?;
    println!("{count} sales made in {:.1} s", began.elapsed().as_secs_f64());
    let placed: Vec<Vec<Door>> = stream::iter(&sales)
        .map(|one| one.place())
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    eventually(MADE, "every sale stands where it should", async || {
        for cluster in &clusters {
            let list = cluster.api::<FlashSale>().list(&ListParams::default()).await?;
            for sale in list.items {
                let number: usize = sale.name_any().trim_start_matches("sale-").parse()?;
                let phase = sale.status.clone().unwrap_or_default().phase();
                if phase.as_str() != format!("{:?}", stages[number % stages.len()]) {
                    // A round that had begun before has written over it.
                    sales[number].write_stage().await?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    })
    .await?;
    operator.is_quiet(MADE).await?;
    eventually(MADE, "the last word is written", async || {
        let before = writes(&operator).await?;
        tokio::time::sleep(Duration::from_secs(15)).await;
        Ok(writes(&operator).await? <= before)
    })
    .await?;

    // A door that is slow to answer on a busy machine is news, and written down; who writes although nothing happens does so in each.
    let (mut asked, mut written, mut news) = (0.0, 0.0, 0.0);
    for _window in 0..if is_bench { 1 } else { 3 } {
        let (requests, writes) = (operator.requests().await?, writes(&operator).await?);
        tokio::time::sleep(quiet).await;
        asked = (operator.requests().await? - requests) / quiet.as_secs_f64();
        written = self::writes(&operator).await? - writes;
        news += written;
        if news == 0.0 {
            break;
        }
    }
    let memory = operator.metric("process_resident_memory_bytes").await? / f64::from(1 << 20);
    println!(
        "in {} quiet seconds: {asked:.2} requests/s, {written} writes beside the Lease; {memory:.1} MiB",
        quiet.as_secs()
    );
    // Everything is measured before anything is judged: a figure that is missed says something about the others.
    let mut missed = Vec::new();
    let mut judge = |holds: bool, what: String| {
        if !holds {
            missed.push(what);
        }
    };
    judge(asked < QUIET, format!("{asked:.2} requests/s"));
    judge(written == 0.0, format!("{written} writes while nothing happened"));
    judge(!is_bench || memory < MEMORY, format!("{memory:.1} MiB"));

    let open: Vec<_> = sales
        .iter()
        .zip(&placed)
        .filter(|(one, _)| one.stage == Stage::Live)
        .collect();
    let mut times = Vec::new();
    for halted in [true, false] {
        let switches = stream::iter(&open).map(|(one, doors)| switch(one, doors, halted));
        times.extend(switches.buffer_unordered(4).try_collect::<Vec<_>>().await?);
    }
    let part = |which: usize, percent: usize| {
        let mut sorted: Vec<Duration> = times.iter().map(|both: &[Duration; 2]| both[which]).collect();
        sorted.sort_unstable();
        sorted[(sorted.len() * percent).div_ceil(100) - 1]
    };
    let late = part(1, 99);
    println!(
        "{} switches: taken by the API server p50 {:.1?}, p99 {:.1?}; in force p50 {:.1?}, p99 {late:.1?}",
        times.len(),
        part(0, 50),
        part(0, 99),
        part(1, 50),
    );
    judge(!is_bench || late < SWITCHED, format!("a switch takes {late:.1?}"));

    operator.is_quiet(MADE).await?;
    drop(operator);
    let killed = Instant::now();
    let operator = Operator::start().await?;
    let all = f64::from(u32::try_from(count)?);
    eventually(steady, "every sale was looked at again", async || {
        let looked = operator
            .metric("quicksale_operator_reconcile_duration_seconds_count{")
            .await;
        Ok(looked.unwrap_or(0.0) >= all)
    })
    .await?;
    let looked = killed.elapsed();
    operator.is_quiet(steady.saturating_sub(looked)).await?;
    println!(
        "after a kill: every sale looked at within {:.1} s, quiet within {:.1} s; {:.1} MiB",
        looked.as_secs_f64(),
        killed.elapsed().as_secs_f64(),
        operator.metric("process_resident_memory_bytes").await? / f64::from(1 << 20)
    );
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

/// Requests that write, but for the renewal of the Lease.
async fn writes(operator: &Operator) -> Result<f64> {
    let mut all = 0.0;
    for method in ["POST", "PATCH", "DELETE"] {
        let series = format!("quicksale_operator_api_requests_total{{method=\"{method}\"}}");
        all += operator.metric(&series).await?;
    }
    Ok(all)
}
