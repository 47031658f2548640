//! A push of an index finds an image's manifest, which no batch condemned yet, while a layer of the image is in one. A
//! layer is a candidate only if no manifest that is there names it, also none that goes. So the push need not look at
//! what the image names.

use super::super::Model;
use super::finds;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pusher {
    Looks,
    /// It found the image.
    Refers,
    Knows,
    Acknowledged,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Collector {
    /// Reads the indexes, then the images.
    SurveysIndexes,
    SurveysImages(bool),
    /// Whether the image and the layer are candidates.
    Sweeps(bool, bool),
    /// The image is in a batch from now on.
    Publishes(bool),
    Rests,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and all combinations are looked at")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    index: bool,
    image: bool,
    layer: bool,
    /// The layer is in a batch that is due, which the pusher knows: it keeps what it finds there.
    image_condemned: bool,
    image_kept: bool,
    pusher: Pusher,
    collector: Collector,
    rounds: u8,
    /// What is named by a manifest that is there is no candidate.
    named_stays: bool,
}

impl World {
    /// The layer was in no image when it was condemned; the image, which was pushed then, expires now.
    fn start(named_stays: bool) -> Self {
        Self {
            index: false,
            image: true,
            layer: true,
            image_condemned: false,
            image_kept: false,
            pusher: Pusher::Looks,
            collector: Collector::SurveysIndexes,
            rounds: 3,
            named_stays,
        }
    }

    fn push(&mut self) {
        self.pusher = match self.pusher {
            Pusher::Looks if self.image => Pusher::Refers,
            Pusher::Refers => {
                self.index = true;
                Pusher::Knows
            }
            Pusher::Knows => {
                // If it is not condemned, the survey that decides about it is yet to come, and sees the index.
                self.image_kept |= self.image_condemned;
                if self.image { Pusher::Acknowledged } else { Pusher::Failed }
            }
            _ => Pusher::Failed,
        };
    }

    fn collect(&mut self) {
        self.collector = match self.collector {
            Collector::SurveysIndexes => Collector::SurveysImages(self.index),
            Collector::SurveysImages(needed) => {
                let is_named = if self.named_stays { self.image } else { needed && self.image };
                Collector::Sweeps(!needed && self.image, !is_named)
            }
            Collector::Sweeps(image, layer) => {
                if image && self.image_condemned && !self.image_kept {
                    self.image = false;
                }
                self.layer &= !layer;
                Collector::Publishes(image)
            }
            Collector::Publishes(image) => {
                self.image_condemned |= image;
                Collector::Rests
            }
            Collector::Rests => Collector::SurveysIndexes,
        };
    }
}

impl Model for World {
    fn next(&self) -> Vec<(String, Self)> {
        let mut next = Vec::new();
        if !matches!(self.pusher, Pusher::Acknowledged | Pusher::Failed) {
            let mut pushed = self.clone();
            pushed.push();
            next.push((format!("{:?}", self.pusher), pushed));
        }
        if self.collector != Collector::Rests || self.rounds > 0 {
            let mut collected = self.clone();
            collected.rounds -= u8::from(self.collector == Collector::Rests);
            collected.collect();
            next.push((format!("{:?}", self.collector), collected));
        }
        next
    }

    fn always(&self) -> Result<(), String> {
        if self.pusher == Pusher::Acknowledged && !(self.image && self.layer) {
            return Err("what an acknowledged index needs is lost".to_owned());
        }
        Ok(())
    }

    fn finally(&self) -> Result<(), String> {
        Ok(())
    }

    fn succeeded(&self) -> bool {
        self.pusher == Pusher::Acknowledged
    }
}

#[test]
fn what_an_image_names_stays_as_long_as_the_image() {
    assert!(super::explore(World::start(true)).unwrap() > 20);
}

#[test]
fn if_it_went_with_the_image_a_push_of_an_index_would_lose_it() {
    finds(World::start(false));
}
