//! The host of the simulated daemon.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use forwarders::testing::simulation::{Disk, SimulatedHost};
use rand::RngExt;
use tokio::time::sleep;

use crate::world::{State, World};

/// The host of the simulated daemon: its clock, disk and random numbers.
#[derive(Debug)]
pub(crate) struct SimHost(pub(crate) Arc<World>);

impl SimulatedHost for SimHost {
    fn wall(&self) -> Duration {
        self.0.with(|state| state.wall())
    }

    fn random(&self) -> u64 {
        self.0.with(|state| state.random.random())
    }

    fn disk(&self) -> Box<dyn Disk> {
        Box::new(self.0.disk.clone())
    }

    fn begin_blocking(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let world = Arc::clone(&self.0);
        let pause = world.with(State::access_begins);
        Box::pin(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            world.live().await;
        })
    }

    fn end_blocking(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let world = Arc::clone(&self.0);
        world.check_after_access();
        let has_crashed = world.disk.has_crashed();
        let pause = world.with(|state| {
            state.is_dead |= has_crashed;
            state.access_ends()
        });
        Box::pin(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            world.live().await;
        })
    }
}
