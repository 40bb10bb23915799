//! The gateways that orders go to, each with the connections that nobody uses at the moment.

use crate::wire::{Answer, Wire};
use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
};

/// One or several gateways, which take turns.
#[derive(Debug)]
pub struct Doors(Vec<Door>);

#[derive(Debug)]
struct Door {
    address: SocketAddr,
    idle: Mutex<Vec<Wire>>,
}

impl Doors {
    /// Gateways that nobody has a connection to yet.
    pub fn new(addresses: &[SocketAddr]) -> Self {
        let door = |address: &SocketAddr| Door {
            address: *address,
            idle: Mutex::default(),
        };
        Self(addresses.iter().map(door).collect())
    }

    /// The same gateways, for others who come with connections of their own.
    pub fn anew(&self) -> Self {
        Self::new(&self.0.iter().map(|door| door.address).collect::<Vec<_>>())
    }

    /// Sends the request with that number, and tells what `read` makes of its answer.
    pub async fn ask<T>(
        &self,
        number: usize,
        request: &str,
        read: impl FnOnce(Answer<'_>) -> T,
    ) -> anyhow::Result<T> {
        let door = self.0.get(number % self.0.len().max(1));
        let door = door.ok_or_else(|| anyhow::anyhow!("there is no gateway"))?;
        let idle = door.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut wire = match idle {
            Some(wire) => wire,
            None => Wire::connect(door.address).await?,
        };
        let answer = wire.ask(request.as_bytes()).await?;
        let stays_open = !answer.closes;
        let read = read(answer);
        if stays_open {
            door.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(wire);
        }
        Ok(read)
    }
}
