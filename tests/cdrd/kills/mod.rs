//! kill -9 at random moments, of the real process with all of its sinks: while a
//! backlog drains, files are rotated and compressed, gaps are filled, an old journal
//! is brought to the present format, the configuration is read anew, and during the
//! start itself.
//!
//! | file | holds |
//! |---|---|
//! | `scene` | the PBX, the receivers, the configurations, one run of the process |
//! | `world` | what goes on meanwhile: calls, outages, receivers that fail |
//! | `truth` | what must be so in the end, whatever was killed when |
//! | `traces` | what files and sinks have |
//! | `migration` | kills while a journal of an older format is taken over |
//!
//! `CDRD_KILLS` sets how many, `CDRD_SEED` which moments; each failure names its seed.

mod migration;
pub mod scene;
mod traces;
pub mod truth;
mod world;

use std::time::Duration;

use fastrand::Rng;
use tokio_util::sync::CancellationToken;

use self::scene::{Run, Scene, VARIANTS};
use crate::harness::number;

/// Kills of a run that nobody asked to be longer.
const KILLS: u64 = 30;
/// The longest wait between a moment that can be seen and the kill, in milliseconds.
const LATER_MS: u64 = 400;
/// One kill in so many comes after seconds, so that comparisons with REST are met, too.
const ONE_IN_LONG: u64 = 40;

/// When a run is killed: so long after what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum After {
    Start,
    Ready,
    Subscription,
    Reload,
    /// Seconds after the subscription.
    AWhile,
}

impl After {
    fn choose(kill: u64, random: &mut Rng) -> Self {
        if kill % ONE_IN_LONG == ONE_IN_LONG / 2 {
            return Self::AWhile;
        }
        match random.u32(0..10) {
            0..3 => Self::Start,
            3..6 => Self::Ready,
            6..8 => Self::Subscription,
            _ => Self::Reload,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_torn_or_unrecorded_whenever_the_process_is_killed() {
    let (kills, seed) = (number("CDRD_KILLS", KILLS), number("CDRD_SEED", 6));
    println!("{kills} kills, seed {seed}");
    let scene = Scene::new(seed).await;
    let mut random = Rng::with_seed(seed);
    let stop = CancellationToken::new();
    let killing = async {
        let mut met = std::collections::BTreeMap::<After, u32>::new();
        for kill in 0..kills {
            let after = After::choose(kill, &mut random);
            kill_one(&scene, kill, after, &mut random).await;
            *met.entry(after).or_default() += 1;
            if kill % 100 == 99 {
                println!("{} kills; {} calls", kill + 1, scene.pbx.ended_calls().len());
            }
        }
        stop.cancel();
        met
    };
    let (met, events) = tokio::join!(killing, world::turns(&scene, seed, &stop));
    println!("killed after {met:?}; meanwhile {events}");
    truth::check(scene, kills).await;
}

/// One run of the process, and its end.
async fn kill_one(scene: &Scene, kill: u64, after: After, random: &mut Rng) {
    let variant = random.usize(0..VARIANTS);
    let mut run = Run::start(scene, kill, variant);
    let mut later = random.u64(0..LATER_MS);
    match after {
        After::Start => {}
        After::Ready => run.ready().await,
        After::Subscription => run.subscribed(scene).await,
        After::AWhile => {
            run.subscribed(scene).await;
            later = random.u64(2_000..7_000);
        }
        After::Reload => {
            run.ready().await;
            tokio::time::sleep(Duration::from_millis(random.u64(0..150))).await;
            run.reload(scene, random.usize(0..VARIANTS));
            later /= 3;
        }
    }
    // The moment itself is what is tried; nothing waits for it to have an effect.
    tokio::time::sleep(Duration::from_millis(later)).await;
    run.kill(scene);
}
