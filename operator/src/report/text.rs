//! The report as people read it.

use super::{AuditResult, Report, figures::Times};
use jiff::Timestamp;
use std::fmt::{self, Display, Formatter};

/// A report as text: `kubectl get configmap NAME --output jsonpath='{.data.report\.txt}'`.
#[derive(Debug)]
pub struct Text<'a>(pub &'a Report);

struct Moment(Option<Timestamp>);

impl Display for Moment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(at) => write!(f, "{at}"),
            None => f.write_str("-"),
        }
    }
}

impl Display for Times {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} orders", self.count)?;
        let parts = [
            (50, self.p50_at_most_seconds),
            (90, self.p90_at_most_seconds),
            (99, self.p99_at_most_seconds),
        ];
        for (percent, bound) in parts {
            match bound {
                Some(bound) => write!(f, ", {percent} % within {bound} s")?,
                None => write!(f, ", {percent} % later than was measured")?,
            }
        }
        Ok(())
    }
}

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let report = self.0;
        writeln!(f, "{:?} {}", report.mode, report.sale)?;
        writeln!(f, "opened   {}", Moment(report.times.opened_at))?;
        writeln!(f, "closed   {}", Moment(report.times.closed_at))?;
        writeln!(f, "settled  {}", Moment(report.times.settled_at))?;
        writeln!(f, "\nUnits")?;
        for product in &report.products {
            writeln!(
                f,
                "  {}: {} of {} sold, {} left, {} held",
                product.sku, product.sold, product.stock, product.available, product.reserved
            )?;
        }
        self.orders(f)?;
        writeln!(f, "\nRefused at the door: {}", report.refused.total)?;
        for (code, count) in report.refused.by_code.iter().filter(|(_, count)| **count > 0) {
            writeln!(f, "  {code}: {count}")?;
        }
        if let Some(times) = &report.durations.acceptance {
            writeln!(f, "\nAccepted: {times}")?;
        }
        if let Some(times) = &report.durations.confirmation {
            writeln!(f, "Confirmed: {times}")?;
        }
        self.faults(f)?;
        if let Some(rehearsal) = &report.rehearsal {
            writeln!(f, "\nRehearsal: {}", rehearsal.verdict)?;
        }
        self.audit(f)?;
        for missing in &report.missing {
            writeln!(f, "Not known: {missing}")?;
        }
        writeln!(f, "\nWritten by operator {}", report.versions.operator)
    }
}

impl Text<'_> {
    fn orders(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(orders) = &self.0.orders else {
            return Ok(());
        };
        let account = &orders.account;
        writeln!(f, "\nOrders: {} accepted", account.accepted)?;
        for (status, count) in &account.by_status {
            writeln!(f, "  {status}: {count}")?;
        }
        for (reason, count) in &account.failed_by_reason {
            writeln!(f, "  failed for {reason}: {count}")?;
        }
        writeln!(f, "  sold for {} {}", orders.sold_for, self.0.currency.code())?;
        writeln!(
            f,
            "  first order {}, last order {}",
            Moment(account.first_order_at),
            Moment(account.last_order_at)
        )?;
        writeln!(
            f,
            "  first sale {}, last sale {}",
            Moment(account.first_sale_at),
            Moment(account.last_sale_at)
        )?;
        writeln!(
            f,
            "  most in a second: {} at {}",
            account.most_orders_in_a_second,
            Moment(account.busiest_second)
        )
    }

    fn audit(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.0.audit {
            AuditResult::Agrees { orders, .. } => {
                writeln!(f, "\nThe books agree ({orders} orders looked at).")
            }
            AuditResult::Differs { differences, .. } => {
                writeln!(f, "\nTHE BOOKS DIFFER")?;
                differences
                    .iter()
                    .try_for_each(|difference| writeln!(f, "  {difference}"))
            }
            AuditResult::Unknown => writeln!(f, "\nNobody has audited the books."),
        }
    }

    fn faults(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let faults = &self.0.faults;
        let restarts = faults.restarts.iter().filter(|(_, count)| **count > 0);
        let counters = faults.counters.iter().filter(|(_, count)| **count > 0);
        let (mut restarts, mut counters) = (restarts.peekable(), counters.peekable());
        if faults.degraded.is_empty() && restarts.peek().is_none() && counters.peek().is_none() {
            return writeln!(f, "\nNothing went wrong that anybody noticed.");
        }
        writeln!(f, "\nFaults")?;
        for span in &faults.degraded {
            writeln!(
                f,
                "  {} from {} to {}",
                span.reason,
                span.from,
                Moment(span.until)
            )?;
        }
        for (service, count) in restarts {
            writeln!(f, "  restarts of {service}: {count}")?;
        }
        for (counter, count) in counters {
            writeln!(f, "  {counter}: {count}")?;
        }
        Ok(())
    }
}
