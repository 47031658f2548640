//! The time from exec to the first answer, and the size of the program.

use std::fs;
use std::time::Instant;

use crate::peers;
use crate::report::Report;
use crate::world::World;

const ROUNDS: usize = 11;

pub async fn measure(report: &mut Report) {
    let world = World::build().await;
    let path = world.blob();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = client.build().unwrap();
    let contestants = peers::of("start");
    for _ in 0..ROUNDS {
        for peer in &contestants {
            let began = Instant::now();
            let first = async {
                let running = peer.start(&world.words).await?;
                let answer = client.get(format!("{}{path}", running.url)).send().await;
                let status = answer.map_err(|error| error.to_string())?.status();
                let took = began.elapsed();
                match status.as_u16() {
                    200 | 307 => Ok((running.took, took)),
                    other => Err(format!("{path} is answered with {other}")),
                }
            };
            let name = &peer.name;
            match first.await {
                Ok((ready, served)) => {
                    let millis = |it: std::time::Duration| it.as_secs_f64() * 1000.0;
                    report.one("exec to ready, over an S3", name, "ms", millis(ready));
                    report.one("exec to the first blob answered", name, "ms", millis(served));
                }
                Err(why) => report.add("exec to ready, over an S3", name, "ms", Err(why)),
            }
        }
    }
    for _ in 0..ROUNDS {
        for peer in peers::of("start-empty") {
            let started = peer.start(&world.words).await;
            let millis = started.map(|running| vec![running.took.as_secs_f64() * 1000.0]);
            report.add("exec to ready, over a folder", &peer.name, "ms", millis);
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "some millions")]
    let size = fs::metadata(crate::support::program()).unwrap().len() as f64;
    report.one("program on disk", "pounce", "MB", size / 1e6);
}
