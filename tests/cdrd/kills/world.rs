//! What goes on while the process is killed: calls, outages of the PBX, receivers
//! that fail and come back.

use std::fmt;
use std::time::Duration;

use cdrd::simulator::DownDoor;
use fastrand::Rng;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::scene::{Deaf, Scene, now_ms};
use crate::receiver::Answer;

/// How often what happened.
#[derive(Debug, Default)]
pub struct Events {
    resets: u32,
    outages: u32,
    backlogs: u32,
    hang_ups: u32,
}

impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resets, outages, backlogs, hang_ups } = self;
        write!(
            f,
            "{resets} resets and {outages} outages of the PBX, {backlogs} backlogs, {hang_ups} hang-ups"
        )
    }
}

/// Turns until told to stop; then everything works.
pub async fn turns(scene: &Scene, seed: u64, stop: &CancellationToken) -> Events {
    let (events, ()) = tokio::join!(troubles(scene, seed, stop), calls(scene, seed, stop));
    scene.http.answer(Answer::Status(200));
    scene.pbx.come_up().await.unwrap();
    events
}

/// About five a second.
async fn calls(scene: &Scene, seed: u64, stop: &CancellationToken) {
    let mut random = Rng::with_seed(seed + 1);
    while !stop.is_cancelled() {
        let calls = if random.u32(0..60) == 0 { 60 } else { 1 };
        scene.pbx.push_calls(calls).await;
        sleep(Duration::from_millis(random.u64(0..400))).await;
    }
}

async fn troubles(scene: &Scene, seed: u64, stop: &CancellationToken) -> Events {
    let mut random = Rng::with_seed(seed + 2);
    let mut events = Events::default();
    while !stop.is_cancelled() {
        sleep(Duration::from_millis(random.u64(100..900))).await;
        match random.u32(0..8) {
            0 => {
                let began = now_ms();
                scene.pbx.reset_all().await;
                scene.deaf(began, Deaf::CutOff);
                events.resets += 1;
            }
            1 => {
                let began = now_ms();
                scene.pbx.go_down(DownDoor::Refuses).await;
                scene.deaf(began, Deaf::CutOff);
                sleep(Duration::from_millis(random.u64(0..400))).await;
                scene.pbx.come_up().await.unwrap();
                events.outages += 1;
            }
            2 | 3 => {
                scene.http.answer(Answer::Status(503));
                events.backlogs += 1;
            }
            4 => scene.http.answer(Answer::Cut),
            5 | 6 => scene.http.answer(Answer::Status(200)),
            _ => {
                scene.socket.hang_up();
                events.hang_ups += 1;
            }
        }
    }
    events
}
