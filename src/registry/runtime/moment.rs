//! Time by both clocks, because machines sleep: laptops, and virtual machines that are suspended and resumed.

use std::time::{Duration, Instant, SystemTime};

/// How often a process looks whether the machine slept.
const LOOK: Duration = Duration::from_secs(1);
/// A sleep that counts: much less than half of the life of any URL, and more than clocks are corrected by.
const SLEEP: Duration = Duration::from_secs(10);

/// A moment in this process. Of the two clocks one stands still while the machine sleeps, and the other can be set, so
/// the larger of two ages counts.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Moment {
    instant: Instant,
    time: SystemTime,
}

impl Moment {
    pub(in crate::registry) fn now() -> Self {
        Self { instant: Instant::now(), time: SystemTime::now() }
    }

    pub(in crate::registry) fn elapsed(&self) -> Duration {
        self.instant.elapsed().max(self.time.elapsed().unwrap_or_default())
    }

    /// How much farther the clock of the day went than the other one: how long the machine slept, or how far its clock
    /// was set forward.
    fn slept(&self) -> Duration {
        slept(self.instant.elapsed(), self.time.elapsed().unwrap_or_default())
    }
}

/// Waits until the machine has slept, and says for how many whole seconds.
pub(in crate::registry) async fn after_sleep() -> Duration {
    loop {
        let before = Moment::now();
        tokio::time::sleep(LOOK).await;
        let slept = before.slept();
        if slept > SLEEP {
            return Duration::from_secs(slept.as_secs());
        }
    }
}

fn slept(awake: Duration, all: Duration) -> Duration {
    all.saturating_sub(awake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_the_day_tells_of_sleep() {
        let seconds = Duration::from_secs;
        for (awake, all, expected) in [(1, 1, 0), (1, 3601, 3600), (5, 0, 0)] {
            assert_eq!(slept(seconds(awake), seconds(all)), seconds(expected));
        }
        let hour = seconds(3600);
        let moment = Moment { instant: Instant::now(), time: SystemTime::now() - hour };
        assert!(moment.elapsed() >= hour && moment.slept() >= seconds(3500));
        assert!(Moment { time: SystemTime::now() + hour, ..moment }.slept().is_zero());
    }
}
