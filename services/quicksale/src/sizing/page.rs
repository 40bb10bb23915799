//! What docs/sizing.md shows is what the command knows and prints. A test that fails prints what to paste there.

use super::{
    Options,
    costs::{Costs, Cpu, Figure, MEASURED, SECTION, Split},
    model::{Plan, plan},
    quantity::{Bytes, CpuPerThousand, PerSecond},
    table::{NOT_MEASURED, bytes, grouped},
    tests::sale,
};
use clap::Args;
use std::collections::BTreeSet;

/// A file of the repository.
fn read(path: &str) -> String {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    std::fs::read_to_string(format!("{root}/{path}")).unwrap()
}

/// The page shows this, which is `what` of it.
fn shown(what: &str, text: &str) {
    assert!(
        read("docs/sizing.md").contains(text),
        "docs/sizing.md has another {what} than\n{text}"
    );
}

/// The beginnings and the rest of the page's rows that begin with a flag.
fn flags(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| `--")?.split_once("` | "))
}

#[test]
fn the_page_shows_what_is_printed() {
    shown("plan", &plan(sale(""), &MEASURED).to_string());
}

#[test]
fn the_page_says_what_is_printed() {
    let plan = plan(sale(""), &MEASURED);
    let (cores, demand) = (&plan.cores, &plan.demand);
    let looks = MEASURED.page_view.is.at(demand.page_views_per_second);
    let looks = plan.sale.utilisation.leaves_room(looks).0 / cores.services.most().0 * 100.0;
    let sentences = [
        format!("take {looks:.0} % of the services' cores"),
        format!("hears of the end after {:.0} seconds", plan.confirmed_within_s),
        format!(
            "gets {:.0} MB in each of these seconds",
            plan.room.log_per_second.0 / 1e6
        ),
        format!(
            "keeps {:.0} % of it busy",
            cores.redis.most().0 * plan.sale.utilisation.percent()
        ),
    ];
    let page = read("docs/sizing.md");
    let missing: Vec<_> = sentences
        .iter()
        .filter(|sentence| !page.contains(sentence.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/sizing.md says something else than\n{missing:#?}"
    );
}

/// A row of other flags.
fn other(flags: &str) -> String {
    let Plan {
        cores,
        room,
        confirmed_within_s,
        ..
    } = plan(sale(&format!("--{flags}")), &MEASURED);
    let [services, database, redis] =
        [&cores.services, &cores.database, &cores.redis].map(|need| need.most().0);
    let (partitions, log) = (room.partitions, bytes(Some(room.log_per_second)));
    format!(
        "| `--{flags}` | {services:.1} | {database:.1} | {redis:.1} | {partitions} | {log} | {confirmed_within_s:.1} s |\n"
    )
}

#[test]
fn the_page_shows_what_comes_of_other_flags() {
    let page = read("docs/sizing.md");
    // The other table has flags without a number.
    let rows = flags(&page).map(|row| row.0).filter(|flags| flags.contains(' '));
    let rows: String = rows.map(other).collect();
    assert!(!rows.is_empty(), "docs/sizing.md has no such row");
    shown("table of other sales", &rows);
}

#[test]
fn the_page_has_every_flag_with_its_default() {
    let page = read("docs/sizing.md");
    let shown = flags(&page).filter(|(flag, _)| !flag.contains(' '));
    let shown = shown.map(|(flag, rest)| {
        let default = rest.trim_end_matches(" |").rsplit(" | ").next();
        (flag.to_owned(), default.unwrap_or_default().replace(',', ""))
    });
    let command = Options::augment_args(clap::Command::new("sizing"));
    let flags = command.get_arguments().filter_map(|argument| {
        let default = argument.get_default_values().first()?.to_str()?;
        Some((argument.get_long()?.to_owned(), default.to_owned()))
    });
    // `--json` is a switch.
    let flags = flags.filter(|(_, default)| default != "false");
    assert_eq!(shown.collect::<BTreeSet<_>>(), flags.collect::<BTreeSet<_>>());
}

/// A row of what was measured, or not yet.
fn row<T>(what: &str, figure: Option<Figure<T>>, written: impl Fn(T) -> String) -> String {
    match figure {
        Some(Figure { scenario, is }) => format!("| {what} | {} | `{scenario}` |\n", written(is)),
        None => format!("| {what} | {NOT_MEASURED} yet | - |\n"),
    }
}

fn measured(costs: &Costs) -> String {
    let cpu = |cost: Cpu| {
        let spent = [cost.services, cost.database, cost.kafka, cost.redis];
        spent
            .map(|CpuPerThousand(spent)| format!("{spent:.3}"))
            .join(", ")
    };
    let services = |CpuPerThousand(spent)| format!("{spent:.3} of the services");
    let size = |size: Bytes| bytes(Some(size));
    let pace = |PerSecond(pace)| grouped(pace);
    let parts = |split: Split| {
        let parts = [
            ("gateway", split.gateway),
            ("order", split.order),
            ("inventory", split.inventory),
            ("processor", split.processor),
            ("notifier", split.notifier),
        ];
        parts
            .map(|(of, part)| format!("{of} {:.0} %", part * 100.0))
            .join(", ")
    };
    let in_partitions = format!("orders confirmed in a second, in {} partitions", costs.partitions);
    [
        row(
            "an order, from acceptance to end, of the only product",
            Some(costs.accepted),
            cpu,
        ),
        row(
            "the same, of one of many products",
            Some(costs.accepted_of_many),
            cpu,
        ),
        row("a refusal, first try", Some(costs.refused_first), cpu),
        row("a refusal, further tries", Some(costs.refused_again), cpu),
        row("a page view", Some(costs.page_view), services),
        row("database log of an order", Some(costs.log), size),
        row("the same, of one of many products", Some(costs.log_of_many), size),
        row(&in_partitions, Some(costs.pace), pace),
        row("the same, of many products", Some(costs.pace_of_many), pace),
        row("the same, of a thousand", Some(costs.pace_of_a_thousand), pace),
        row("a login", costs.login, cpu),
        row("opening a WebSocket, with its ticket", costs.socket_opened, cpu),
        row(
            "pushing what becomes of an order to its buyer's WebSocket",
            costs.pushed,
            services,
        ),
        row("a ping to a WebSocket, and its answer", costs.ping, services),
        row("how the services share an order's CPU", costs.split, parts),
        row("database files, of an order", costs.stored, size),
        row("Kafka, of an order, one copy", costs.records, size),
        row("memory of Redis, of a buyer", costs.remembered, size),
        row("memory of a WebSocket", costs.socket, size),
        row("memory of a connection", costs.connection, size),
    ]
    .concat()
}

#[test]
fn the_page_shows_what_was_measured() {
    shown("table of what was measured", &measured(&MEASURED));
}

#[test]
fn a_figure_that_is_new_gets_its_row() {
    let rows = measured(&super::tests::invented());
    for row in [
        "| a login | 50.000, 2.000, 0.000, 0.100 | `invented` |\n",
        "| how the services share an order's CPU | gateway 40 %, order 30 %, inventory 10 %, processor 10 %, notifier 10 % | `invented` |\n",
        "| memory of a WebSocket | 1.0 KB | `invented` |\n",
    ] {
        assert!(rows.contains(row), "{rows}");
    }
    assert!(!rows.contains(NOT_MEASURED), "{rows}");
}

#[test]
fn the_section_that_was_measured_is_there() {
    let heading = format!("## {SECTION}");
    assert!(
        read("bench/RESULTS.md").lines().any(|line| line == heading),
        "bench/RESULTS.md has no section\n{heading}"
    );
}
