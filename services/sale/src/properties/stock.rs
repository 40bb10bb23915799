//! The stock account: units move and none is made or lost, whatever is asked of it and in whatever order.

use super::{Law, holds};
use crate::stock::{Stock, StockError};
use proptest::{collection::vec, prelude::*};

#[derive(Debug, Clone, Copy)]
enum Move {
    Reserve(u64),
    Release(u64),
    Confirm(u64),
    TakeBack(u64),
    Adjust(i64),
}

impl Move {
    fn on(self, account: &mut Stock) -> Result<(), StockError> {
        match self {
            Self::Reserve(units) => account.reserve(units),
            Self::Release(units) => account.release(units),
            Self::Confirm(units) => account.confirm(units),
            Self::TakeBack(units) => account.take_back(units),
            Self::Adjust(delta) => account.adjust(delta),
        }
    }

    /// What it adds to stock, available, reserved and sold, in numbers that cannot overflow.
    fn effect(self) -> [i128; 4] {
        match self {
            Self::Reserve(units) => [0, -i128::from(units), units.into(), 0],
            Self::Release(units) => [0, units.into(), -i128::from(units), 0],
            Self::Confirm(units) => [0, 0, -i128::from(units), units.into()],
            Self::TakeBack(units) => [0, units.into(), 0, -i128::from(units)],
            Self::Adjust(delta) => [delta.into(), delta.into(), 0, 0],
        }
    }

    /// The moves that lead back, where each of them fits.
    fn back(self) -> Vec<Self> {
        match self {
            Self::Reserve(units) => vec![Self::Release(units)],
            Self::Release(units) => vec![Self::Reserve(units)],
            Self::Confirm(units) => vec![Self::TakeBack(units), Self::Reserve(units)],
            Self::TakeBack(units) => vec![Self::Reserve(units), Self::Confirm(units)],
            Self::Adjust(delta) => delta.checked_neg().map(Self::Adjust).into_iter().collect(),
        }
    }
}

fn numbers(account: &Stock) -> [i128; 4] {
    [
        account.total(),
        account.available(),
        account.reserved(),
        account.sold(),
    ]
    .map(i128::from)
}

/// Mostly numbers that fit each other, and some that nothing fits.
fn units() -> impl Strategy<Value = u64> {
    prop_oneof![12 => 0..12_u64, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let delta = prop_oneof![12 => -12..12_i64, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    let any_move = prop_oneof![
        3 => units().prop_map(Move::Reserve),
        1 => units().prop_map(Move::Release),
        2 => units().prop_map(Move::Confirm),
        1 => units().prop_map(Move::TakeBack),
        1 => delta.prop_map(Move::Adjust),
    ];
    vec(any_move, 0..40)
}

fn beginnings() -> impl Strategy<Value = Stock> {
    prop_oneof![4 => 0..60_u64, 1 => any::<u64>(), 1 => Just(u64::MAX)].prop_map(Stock::new)
}

#[test]
fn a_move_is_made_whole_or_refused_and_no_unit_is_made_or_lost() {
    holds((beginnings(), moves()), |(mut account, moves)| {
        for step in moves {
            let before = numbers(&account);
            let mut wanted = before;
            for (number, change) in wanted.iter_mut().zip(step.effect()) {
                *number += change;
            }
            let possible = wanted.iter().all(|number| (0..=u64::MAX.into()).contains(number));
            let made = step.on(&mut account).is_ok();
            prop_assert_eq!(made, possible, "{:?} with {:?}", step, before);
            let after = numbers(&account);
            prop_assert_eq!(after, if made { wanted } else { before }, "{:?}", step);
            let [stock, available, reserved, sold] = after;
            prop_assert_eq!(stock, available + reserved + sold);
        }
        Ok(())
    });
}

/// Units of an order that is no more go back the way they came, and leave no trace in the account.
#[test]
fn every_move_has_a_way_back() {
    holds((beginnings(), moves()), |(mut account, moves)| {
        for step in moves {
            let mut there = account;
            if step.on(&mut there).is_err() {
                continue;
            }
            let back = step.back();
            if !back.is_empty() {
                let mut and_back = there;
                for step in back {
                    prop_assert_eq!(step.on(&mut and_back), Ok(()));
                }
                prop_assert_eq!(and_back, account, "{:?} and back", step);
            }
            account = there;
        }
        Ok(())
    });
}

#[test]
fn a_refusal_says_what_there_was() {
    holds((beginnings(), moves()), |(mut account, moves)| {
        for step in moves {
            let before = account;
            let said = match (step.on(&mut account), step) {
                (Ok(()), _) => continue,
                (Err(error), Move::Reserve(wanted)) => {
                    let available = before.available();
                    (error, StockError::SoldOut { available, wanted })
                }
                (Err(error), Move::Release(wanted) | Move::Confirm(wanted)) => {
                    let held = before.reserved();
                    (error, StockError::NotHeld { held, wanted })
                }
                (Err(error), Move::TakeBack(wanted)) => {
                    let held = before.sold();
                    (error, StockError::NotHeld { held, wanted })
                }
                (Err(error), Move::Adjust(_)) => {
                    let committed = before.reserved() + before.sold();
                    (error, StockError::BelowCommitted { committed })
                }
            };
            prop_assert_eq!(said.0, said.1);
        }
        Ok(())
    });
}

#[test]
fn an_account_is_rebuilt_if_its_numbers_add_up_and_only_then() {
    let number = || prop_oneof![0..10_u64, any::<u64>(), Just(u64::MAX)];
    let adds_up = |(stock, reserved, sold): (u64, u64, u64)| -> Law {
        let fits = u128::from(reserved) + u128::from(sold) <= stock.into();
        let rebuilt = Stock::from_parts(stock, reserved, sold);
        prop_assert_eq!(rebuilt.is_some(), fits);
        if let Some(account) = rebuilt {
            prop_assert_eq!(
                (account.total(), account.reserved(), account.sold()),
                (stock, reserved, sold)
            );
        }
        Ok(())
    };
    holds((number(), number(), number()), adds_up);
}
