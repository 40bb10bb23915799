//! The ledger: its entries add up to the account after every one of them, in whatever order they are added up.

use super::holds;
use crate::{
    ledger::{Cause, Sums},
    stock::Stock,
};
use proptest::{collection::vec, prelude::*};

const CAUSES: [Cause; 6] = [
    Cause::Stocked,
    Cause::Withdrawn,
    Cause::Reserved,
    Cause::Released,
    Cause::Sold,
    Cause::Returned,
];

fn entries() -> impl Strategy<Value = Vec<(Cause, u32)>> {
    vec((proptest::sample::select(&CAUSES), 1..40_u32), 0..60)
}

/// Moves the units of an entry, unless the account refuses.
pub(super) fn post(account: &mut Stock, cause: Cause, units: u32) -> bool {
    let (delta, units) = (i64::from(units), u64::from(units));
    let moved = match cause {
        Cause::Stocked => account.adjust(delta),
        Cause::Withdrawn => account.adjust(-delta),
        Cause::Reserved => account.reserve(units),
        Cause::Released => account.release(units),
        Cause::Sold => account.confirm(units),
        Cause::Returned => account.take_back(units),
    };
    moved.is_ok()
}

/// What the account says, as the ledger says it.
pub(super) fn of_account(account: &Stock) -> Sums {
    let [stock, reserved, sold] =
        [account.total(), account.reserved(), account.sold()].map(|units| i64::try_from(units).unwrap());
    Sums {
        stock,
        reserved,
        sold,
    }
}

#[test]
fn the_entries_of_all_moves_add_up_to_the_account() {
    holds(entries(), |entries| {
        let (mut account, mut sums) = (Stock::new(0), Sums::default());
        for (cause, units) in entries {
            if post(&mut account, cause, units) {
                sums.add(cause, units.into());
            }
            prop_assert_eq!(sums, of_account(&account), "after {:?} of {}", cause, units);
        }
        Ok(())
    });
}

/// Entries are added up as they are read, and those of a batch that is read late come last.
#[test]
fn it_does_not_matter_in_which_order_entries_are_added_up() {
    let twice = entries().prop_flat_map(|entries| (Just(entries.clone()), Just(entries).prop_shuffle()));
    holds(twice, |(one, other)| {
        let add_up = |entries: &[(Cause, u32)]| {
            let mut sums = Sums::default();
            for (cause, units) in entries {
                sums.add(*cause, i64::from(*units));
            }
            sums
        };
        prop_assert_eq!(add_up(&one), add_up(&other));
        Ok(())
    });
}

/// One entry for all units of a cause in a batch says the same as one for each order.
#[test]
fn one_entry_of_many_units_is_many_entries_of_few() {
    let few = vec(1..40_u32, 0..20);
    holds((proptest::sample::select(&CAUSES), few), |(cause, few)| {
        let (mut one, mut many) = (Sums::default(), Sums::default());
        one.add(cause, few.iter().copied().map(i64::from).sum());
        for units in few {
            many.add(cause, units.into());
        }
        prop_assert_eq!(one, many);
        Ok(())
    });
}
