//! Requests that extend an upload read a tail, store one of their own and delete older ones (`registry/uploads/tail`):
//! a client that continues at the last location that it received finds its bytes.

use std::collections::BTreeSet;

use super::{Model, explore};

/// How many bytes the clients add, one a request.
const BYTES: u8 = 3;

/// A tail in the bucket: the upload's length with it, and the request that wrote it.
type Tail = (u8, u8);

/// A request's progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    /// It lists the tails, and reads its own.
    Listing,
    /// Its own was not there: it lists once more.
    Missing,
    Taking(BTreeSet<Tail>),
    /// It stores its own tail; with the older ones.
    Storing(BTreeSet<Tail>),
    /// It deletes these.
    Dropping(BTreeSet<Tail>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Client {
    /// The tail of the last location that the client received.
    heard: Tail,
    at: At,
    /// The client may lose one more answer.
    loses: bool,
    lost: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    tails: BTreeSet<Tail>,
    clients: Vec<Client>,
    next: u8,
    /// A request keeps the tail that it read, and lists once more for a missing one.
    careful: bool,
}

impl World {
    fn start(clients: usize, careful: bool) -> Self {
        let client = Client { heard: (1, 0), at: At::Listing, loses: true, lost: false };
        Self { tails: BTreeSet::from([(1, 0)]), clients: vec![client; clients], next: 1, careful }
    }

    /// The client continues at the farthest tail, if that is farther than its own.
    fn superseded(&mut self, number: usize) -> bool {
        let farthest = self.tails.iter().max_by_key(|tail| tail.0).copied();
        let client = &mut self.clients[number];
        let farther = farthest.filter(|tail| tail.0 > client.heard.0);
        if let Some(farther) = farther {
            (client.heard, client.at) = (farther, At::Listing);
        }
        farther.is_some()
    }

    fn step(&mut self, number: usize) {
        let Client { heard, at, .. } = self.clients[number].clone();
        let then = match at {
            At::Listing | At::Missing if self.superseded(number) => return,
            At::Listing => {
                let mut older = self.tails.clone();
                older.retain(|tail| !self.careful || *tail != heard);
                At::Taking(older)
            }
            At::Taking(older) if self.tails.contains(&heard) => At::Storing(older),
            At::Taking(_) if self.careful => At::Missing,
            At::Taking(_) | At::Missing => {
                self.clients[number].lost = true;
                return;
            }
            At::Storing(older) => {
                let own = (heard.0 + 1, self.next);
                self.next += 1;
                self.tails.insert(own);
                self.clients[number].heard = own;
                At::Dropping(older)
            }
            At::Dropping(older) => {
                self.tails.retain(|tail| !older.contains(tail));
                At::Listing
            }
        };
        self.clients[number].at = then;
    }
}

impl Model for World {
    fn next(&self) -> Vec<(String, Self)> {
        let mut next = Vec::new();
        for (number, client) in self.clients.iter().enumerate() {
            let done = client.heard.0 >= BYTES && client.at == At::Listing;
            if done || client.lost {
                continue;
            }
            let mut stepped = self.clone();
            stepped.step(number);
            // It stores the tail, and its answer is lost: the client asks again at the same location.
            if client.loses && matches!(client.at, At::Storing(_)) {
                let mut unheard = stepped.clone();
                unheard.clients[number] = Client { loses: false, at: At::Listing, ..client.clone() };
                next.push((format!("{number} is not heard"), unheard));
            }
            next.push((format!("{number} {:?}", client.at), stepped));
        }
        next
    }

    fn always(&self) -> Result<(), String> {
        let idle = |client: &Client| client.at == At::Listing;
        if self.clients.iter().all(idle) {
            // Each racing request leaves its own tail and the one before.
            let most = 2 * self.clients.len() + 1;
            if self.tails.len() > most {
                return Err(format!("{} tails", self.tails.len()));
            }
        }
        if self.clients.iter().any(|client| client.lost) {
            return Err("a client lost its bytes".to_owned());
        }
        let farthest = self.clients.iter().map(|client| client.heard.0).max();
        let kept = self.tails.iter().map(|tail| tail.0).max();
        if kept < farthest {
            return Err("the newest tail is gone".to_owned());
        }
        Ok(())
    }

    fn finally(&self) -> Result<(), String> {
        Ok(())
    }

    fn succeeded(&self) -> bool {
        self.clients.iter().all(|client| client.heard.0 >= BYTES)
    }
}

#[test]
fn who_goes_on_finds_the_newest_tail() {
    assert!(explore(World::start(1, true)).unwrap() > 10);
    assert!(explore(World::start(2, true)).unwrap() > 100);
    assert!(explore(World::start(3, true)).unwrap() > 1000);
}

#[test]
fn without_a_second_look_it_would_not() {
    let found = explore(World::start(2, false)).unwrap_err();
    assert!(found.contains("lost its bytes"), "{found}");
}
