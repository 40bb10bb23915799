//! A plan as people read it.

use super::{
    bounds,
    costs::{MEASURED, PRODUCTS_MEASURED, SECTION},
    cpu::Need,
    limits::{Known, Limit},
    model::Plan,
    quantity::{Bytes, Cores, PerSecond},
};
use std::fmt::{self, Display};

/// What stands where a number would.
pub(super) const NOT_MEASURED: &str = "not measured";

impl Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what_comes(out)?;
        self.cores(out)?;
        self.room(out)?;
        self.limits(out)?;
        self.remarks(out)
    }
}

impl Plan {
    fn what_comes(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sale, demand) = (&self.sale, &self.demand);
        let refused = demand.sold_out.refused_first.0 + demand.sold_out.refused_again.0;
        let until = format!("until {:.1} s", demand.accepted_within_s);
        row(out, "what comes", &["in all", "a second"], "")?;
        let mut line = |what: &str, in_all: f64, a_second: PerSecond, remark: &str| {
            row(out, what, &[&grouped(in_all), &grouped(a_second.0)], remark)
        };
        line("buyers", f64::from(sale.buyers), demand.arrivals, "")?;
        line(
            "orders accepted",
            demand.accepted,
            demand.selling.accepted,
            &until,
        )?;
        line(
            "orders refused",
            demand.refused,
            PerSecond(refused),
            "from then on",
        )?;
        line("page views", demand.page_views, demand.page_views_per_second, "")?;
        line("logins", demand.logins, demand.logins_per_second, "")?;
        let opened = demand.sockets_opened_per_second;
        line("WebSockets", demand.sockets, opened, "opened")
    }

    fn cores(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cores = &self.cores;
        let lines = [
            ("gateway", &cores.gateway),
            ("order", &cores.order),
            ("inventory", &cores.inventory),
            ("processor", &cores.processor),
            ("notifier", &cores.notifier),
            ("auth", &cores.auth),
            ("services together", &cores.services),
            ("database, its primary", &cores.database),
            ("Kafka, all brokers", &cores.kafka),
            ("Redis", &cores.redis),
        ];
        let heading = format!("cores, {:.0} % used", self.sale.utilisation.percent());
        writeln!(out)?;
        row(out, &heading, &["units left", "sold out"], "")?;
        lines.into_iter().try_for_each(|(what, need)| {
            let [selling, sold_out] = [need.selling, need.sold_out].map(|cores| known(need, cores));
            row(out, what, &[&selling, &sold_out], &left_out(need))
        })
    }

    fn room(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let room = &self.room;
        let PerSecond(in_one) = room.orders_in_one;
        let in_one = format!("{in_one:.0} orders a second in one were measured");
        let sockets = grouped(f64::from(bounds::SOCKETS_OF_ONE));
        let connections = grouped(f64::from(bounds::CONNECTIONS_OF_ONE));
        let counts = bytes(Some(room.redis_counts_at_most));
        writeln!(out)?;
        row(out, "room", &["to have"], "")?;
        let mut line = |what: &str, much: &str, remark: &str| row(out, what, &[much], remark);
        line("partitions of each topic", &room.partitions.to_string(), &in_one)?;
        let remark = format!("{sockets} WebSockets in one");
        line("notifiers, at least", &room.notifiers.to_string(), &remark)?;
        let (gateways, remark) = (
            room.gateways_without_proxy,
            format!("{connections} connections in one"),
        );
        line("gateways without a proxy", &gateways.to_string(), &remark)?;
        line("memory, WebSockets", &bytes(room.sockets_memory), "")?;
        line(
            "memory, connections",
            &bytes(room.connections_memory),
            "without a proxy",
        )?;
        line("memory, password hashes", &bytes(room.hashes_memory), "")?;
        let remark = format!("counts of requests at most {counts}");
        line("memory, Redis", &bytes(room.redis_memory), &remark)?;
        line(
            "database log, a second",
            &bytes(Some(room.log_per_second)),
            "while units are left",
        )?;
        line("database log", &bytes(Some(room.log)), "")?;
        line("database files", &bytes(room.stored), "")?;
        line("Kafka, one copy", &bytes(room.records), "")
    }

    fn limits(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out)?;
        row(
            out,
            "what more machines do not move",
            &["wanted", "there", "times"],
            "",
        )?;
        self.limits.iter().try_for_each(|limit| {
            // Of what there is one of, a part counts.
            let digits = |number| {
                if limit.there > 1.0 {
                    grouped(number)
                } else {
                    format!("{number:.1}")
                }
            };
            let (wanted, there) = (digits(limit.wanted), digits(limit.there));
            let remark = match limit.known {
                Known::Measured => "measured; more is not known",
                Known::Bound => "",
            };
            row(
                out,
                limit.what,
                &[&wanted, &there, &format!("{:.2}", limit.ratio)],
                remark,
            )
        })
    }

    fn remarks(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out)?;
        match self.limits.first() {
            Some(Limit {
                what,
                ratio,
                known: Known::Measured,
                ..
            }) if *ratio > 1.0 => {
                writeln!(
                    out,
                    "First: {what}, {ratio:.1} times what was measured. Its own limit is not known."
                )?;
            }
            Some(Limit { what, ratio, .. }) if *ratio > 1.0 => {
                writeln!(out, "First: {what}, {ratio:.1} times what there is.")?;
            }
            Some(Limit { what, .. }) => writeln!(out, "First, but not reached: {what}.")?,
            None => {}
        }
        writeln!(
            out,
            "The last unit is confirmed after {:.1} s, if orders go no faster than was measured.",
            self.confirmed_within_s
        )?;
        if self.cores.all().iter().any(|need| !need.without.is_empty()) {
            writeln!(out, "What was not measured is in none of these numbers.")?;
        }
        if self.sale.products > PRODUCTS_MEASURED {
            let slower = MEASURED.pace_of_a_thousand;
            writeln!(
                out,
                "Costs were measured with up to {PRODUCTS_MEASURED} products. With more an order costs more: in {} only {} a second were \
                 confirmed.",
                slower.scenario,
                grouped(slower.is.0)
            )?;
        }
        writeln!(out, "Measured: bench/RESULTS.md, \"{SECTION}\".")
    }
}

/// A line: what, its numbers, and a remark.
fn row(out: &mut fmt::Formatter<'_>, what: &str, numbers: &[&str], remark: &str) -> fmt::Result {
    write!(out, "{what:<38}")?;
    for number in numbers {
        write!(out, "{number:>13}")?;
    }
    match remark {
        "" => writeln!(out),
        remark => writeln!(out, "  {remark}"),
    }
}

/// Cores as far as they are known.
fn known(need: &Need, cores: Cores) -> String {
    if cores == Cores::default() && !need.without.is_empty() {
        "-".to_owned()
    } else {
        format!("{:.1}", cores.0)
    }
}

/// What the numbers are without.
fn left_out(need: &Need) -> String {
    if need.without.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = need.without.iter().copied().collect();
    format!("{NOT_MEASURED}: {}", names.join(", "))
}

/// Bytes in the unit that suits them.
pub(super) fn bytes(bytes: Option<Bytes>) -> String {
    let Some(Bytes(bytes)) = bytes else {
        return NOT_MEASURED.to_owned();
    };
    let scales = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB")];
    let scale = scales.into_iter().find(|(scale, _)| bytes >= *scale);
    scale.map_or_else(
        || format!("{bytes:.0} B"),
        |(scale, unit)| format!("{:.1} {unit}", bytes / scale),
    )
}

/// A whole number with a comma between each three digits.
pub(super) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        let written = [0.0, 999.0, 1_000.4, 1_234_567.0].map(grouped);
        assert_eq!(written, ["0", "999", "1,000", "1,234,567"]);
        let written =
            [Some(999.0), Some(9_304.0), Some(155.1e6), None].map(|number| bytes(number.map(Bytes)));
        assert_eq!(written, ["999 B", "9.3 KB", "155.1 MB", NOT_MEASURED]);
    }
}
