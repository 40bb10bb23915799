//! The stock account of one product and the only moves it allows.

/// Units of one product, where `stock = available + reserved + sold` always, none of them negative.
///
/// `available` is not kept but computed, so the equation cannot be broken by writing three fields out of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stock {
    stock: u64,
    reserved: u64,
    sold: u64,
}

/// Why a move was refused. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StockError {
    /// Fewer units available than asked for.
    #[error("only {available} of {wanted} units are available")]
    SoldOut {
        /// Units available.
        available: u64,
        /// Units asked for.
        wanted: u64,
    },
    /// More units given back or confirmed than were held (or sold): the caller's account is wrong.
    #[error("{wanted} units cannot leave an account of {held}")]
    NotHeld {
        /// Units in the account.
        held: u64,
        /// Units that should leave it.
        wanted: u64,
    },
    /// The new total would be below what is held and sold.
    #[error("stock cannot go below the {committed} units that are reserved or sold")]
    BelowCommitted {
        /// Units reserved or sold.
        committed: u64,
    },
}

impl Stock {
    /// A product of which nothing has been sold yet.
    pub fn new(stock: u64) -> Self {
        Self {
            stock,
            reserved: 0,
            sold: 0,
        }
    }

    /// Rebuilds an account from the store. `None` when the three numbers break the equation.
    pub fn from_parts(stock: u64, reserved: u64, sold: u64) -> Option<Self> {
        (reserved.checked_add(sold)? <= stock).then_some(Self {
            stock,
            reserved,
            sold,
        })
    }

    /// All units, whatever became of them.
    pub fn total(&self) -> u64 {
        self.stock
    }

    /// Units set aside for orders that are not confirmed yet.
    pub fn reserved(&self) -> u64 {
        self.reserved
    }

    /// Units of confirmed orders.
    pub fn sold(&self) -> u64 {
        self.sold
    }

    /// Units that can still be reserved.
    pub fn available(&self) -> u64 {
        self.stock - self.reserved - self.sold
    }

    /// Sets units aside.
    ///
    /// # Errors
    /// [`StockError::SoldOut`] when there are not enough.
    pub fn reserve(&mut self, units: u64) -> Result<(), StockError> {
        if units > self.available() {
            return Err(StockError::SoldOut {
                available: self.available(),
                wanted: units,
            });
        }
        self.reserved += units;
        Ok(())
    }

    /// Gives reserved units back.
    ///
    /// # Errors
    /// [`StockError::NotHeld`] when fewer are reserved.
    pub fn release(&mut self, units: u64) -> Result<(), StockError> {
        self.reserved = leave(self.reserved, units)?;
        Ok(())
    }

    /// Moves units from reserved to sold.
    ///
    /// # Errors
    /// [`StockError::NotHeld`] when fewer are reserved.
    pub fn confirm(&mut self, units: u64) -> Result<(), StockError> {
        self.reserved = leave(self.reserved, units)?;
        self.sold += units;
        Ok(())
    }

    /// Moves units from sold to available: their order does not exist any more.
    ///
    /// # Errors
    /// [`StockError::NotHeld`] when fewer are sold.
    pub fn take_back(&mut self, units: u64) -> Result<(), StockError> {
        self.sold = leave(self.sold, units)?;
        Ok(())
    }

    /// Adds (or takes away) units of the total.
    ///
    /// # Errors
    /// [`StockError::BelowCommitted`] when it would leave less than is reserved and sold.
    pub fn adjust(&mut self, delta: i64) -> Result<(), StockError> {
        let committed = self.reserved + self.sold;
        match self.stock.checked_add_signed(delta) {
            Some(stock) if stock >= committed => {
                self.stock = stock;
                Ok(())
            }
            _ => Err(StockError::BelowCommitted { committed }),
        }
    }
}

fn leave(held: u64, wanted: u64) -> Result<u64, StockError> {
    held.checked_sub(wanted)
        .ok_or(StockError::NotHeld { held, wanted })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_move_from_available_to_reserved_to_sold() {
        let mut s = Stock::new(50);
        s.reserve(30).unwrap();
        s.confirm(10).unwrap();
        s.release(5).unwrap();
        assert_eq!(
            (s.total(), s.available(), s.reserved(), s.sold()),
            (50, 25, 15, 10)
        );
    }

    #[test]
    fn nothing_is_sold_twice_and_refusals_change_nothing() {
        let mut s = Stock::new(2);
        s.reserve(2).unwrap();
        let before = s;
        assert_eq!(
            s.reserve(1),
            Err(StockError::SoldOut {
                available: 0,
                wanted: 1
            })
        );
        assert_eq!(s.confirm(3), Err(StockError::NotHeld { held: 2, wanted: 3 }));
        assert_eq!(s.release(3), Err(StockError::NotHeld { held: 2, wanted: 3 }));
        assert_eq!(s.adjust(-1), Err(StockError::BelowCommitted { committed: 2 }));
        assert_eq!(s, before);
        s.adjust(3).unwrap();
        assert_eq!(s.available(), 3);
    }

    #[test]
    fn a_broken_account_is_not_rebuilt() {
        assert_eq!(Stock::from_parts(5, 3, 3), None);
        assert_eq!(Stock::from_parts(5, u64::MAX, 3), None);
        assert!(Stock::from_parts(5, 3, 2).is_some());
    }

    /// Walks every sequence of five moves over a small account: the equation must hold after each of them.
    #[test]
    fn every_short_history_conserves_stock() {
        fn walk(s: Stock, depth: u8) {
            assert_eq!(s.total(), s.available() + s.reserved() + s.sold());
            if depth == 0 {
                return;
            }
            for units in 1..=2 {
                for mv in [Stock::reserve, Stock::release, Stock::confirm] {
                    let mut next = s;
                    let _refused_or_not = mv(&mut next, units);
                    walk(next, depth - 1);
                }
            }
            for delta in [-1, 1] {
                let mut next = s;
                let _refused_or_not = next.adjust(delta);
                walk(next, depth - 1);
            }
        }
        walk(Stock::new(2), 5);
    }
}
