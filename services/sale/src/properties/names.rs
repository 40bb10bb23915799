//! Names on the wire: what a status is called in answers and logs is what is stored and read.

use crate::{
    limits::LimitedRoute,
    order::{InventoryStatus, OrderStatus, ReservationState},
    phase::Phase,
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

fn is_written_as_it_is_called<T>(all: &[T], name: impl Fn(T) -> &'static str)
where
    T: Copy + Debug + PartialEq + Serialize + DeserializeOwned,
{
    for value in all.iter().copied() {
        let written = serde_json::to_value(value).unwrap();
        assert_eq!(written, name(value), "{value:?}");
        assert_eq!(serde_json::from_value::<T>(written).unwrap(), value);
        let alike = all.iter().filter(|other| name(**other) == name(value)).count();
        assert_eq!(alike, 1, "{value:?} shares its name");
    }
}

#[test]
fn every_name_is_written_as_it_is_called() {
    use {InventoryStatus as I, OrderStatus as O, ReservationState as R};
    let orders = [O::Pending, O::Confirmed, O::Failed, O::Cancelled, O::Expired];
    is_written_as_it_is_called(&orders, O::as_str);
    is_written_as_it_is_called(&[I::Pending, I::Reserved, I::Rejected, I::Released], I::as_str);
    is_written_as_it_is_called(&[R::Held, R::Confirmed, R::Released, R::Rejected], R::as_str);
    is_written_as_it_is_called(&LimitedRoute::ALL, LimitedRoute::as_str);
    let phases = [
        Phase::Pending,
        Phase::Warming,
        Phase::Live,
        Phase::Draining,
        Phase::Ended,
    ];
    is_written_as_it_is_called(&phases, Phase::as_str);
}
