//! Requests that extend an upload read a tail, store one of their own and delete older ones (`registry/uploads/tail`):
//! a client that continues at the last location that it received finds its bytes. The first request has no tail to
//! read: it stores its own while it lists those of others, and takes it back if another request was first. Lists may
//! fail.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::{Model, explore};

/// How many bytes the clients add, one a request.
const BYTES: u8 = 3;

/// A tail in the bucket: the upload's length with it, and the request that wrote it.
type Tail = (u8, u8);

/// When a tail was stored, by the bucket's clock, which gives the same date to two in a row.
fn date(tail: Tail) -> u8 {
    tail.1 / 2
}

/// The order in which tails count: the farthest, and of these one with the first date, which is not taken back. Of the
/// same date, names decide: here, the later one is before the earlier one.
fn rank(tail: Tail) -> (u8, Reverse<u8>, u8) {
    (tail.0, Reverse(date(tail)), tail.1)
}

/// A request's progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    /// The first request: both at once, it stores its own tail and lists those that there are.
    First {
        stored: Option<Tail>,
        listed: Option<BTreeSet<Tail>>,
    },
    /// It lists once more: which tail was stored first?
    Settling(Tail),
    /// It takes its own tail back, and goes on at the other one.
    Undoing {
        own: Tail,
        other: Tail,
    },
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
    /// A first request that finds another one's tail looks which was stored first; otherwise it takes its own back.
    settles: bool,
    /// A first request whose list fails leaves its tail; otherwise it takes the tail back.
    leaves: bool,
}

impl World {
    fn start(clients: usize, careful: bool) -> Self {
        let client = Client { heard: (1, 0), at: At::Listing, loses: true, lost: false };
        Self {
            tails: BTreeSet::from([(1, 0)]),
            clients: vec![client; clients],
            next: 1,
            careful,
            settles: true,
            leaves: true,
        }
    }

    /// An upload without bytes, whose first request comes several times.
    fn without_bytes(clients: usize, settles: bool) -> Self {
        let at = At::First { stored: None, listed: None };
        let client = Client { heard: (0, 0), at, loses: true, lost: false };
        let clients = vec![client; clients];
        Self { tails: BTreeSet::new(), clients, next: 1, careful: true, settles, leaves: true }
    }

    fn with(&self, number: usize, at: At) -> Self {
        let mut world = self.clone();
        world.clients[number].at = at;
        world
    }

    /// What the next call of a first request does: of two at once, either may come before the other.
    fn first(&self, number: usize, stored: Option<Tail>, listed: Option<&BTreeSet<Tail>>) -> Vec<Self> {
        let mut next = Vec::new();
        if stored.is_none() {
            let own = (1, self.next);
            let at = At::First { stored: Some(own), listed: listed.cloned() };
            let mut world = self.with(number, at);
            world.next += 1;
            world.tails.insert(own);
            next.push(world);
        }
        if listed.is_none() {
            let at = At::First { stored, listed: Some(self.tails.clone()) };
            next.push(self.with(number, at));
        }
        for world in &mut next {
            world.after_first(number);
        }
        next
    }

    /// The request has stored its tail and listed those of others.
    fn after_first(&mut self, number: usize) {
        let At::First { stored: Some(own), listed: Some(listed) } = self.clients[number].at.clone() else {
            return;
        };
        let others: Vec<Tail> = listed.into_iter().filter(|tail| *tail != own).collect();
        let client = &mut self.clients[number];
        client.at = match others.iter().max_by_key(|tail| rank(**tail)) {
            Some(_) if self.settles => At::Settling(own),
            Some(other) => At::Undoing { own, other: *other },
            None => {
                client.heard = own;
                At::Listing
            }
        };
    }

    /// The list of a first request fails, which has stored its tail: the client repeats the request.
    fn unlisted(&self, number: usize) -> Option<Self> {
        let client = &self.clients[number];
        let own = match &client.at {
            At::First { stored: Some(own), listed: None } | At::Settling(own) => *own,
            _ => return None,
        };
        if !client.loses {
            return None;
        }
        let mut world = self.with(number, At::First { stored: None, listed: None });
        world.clients[number].loses = false;
        if !self.leaves {
            world.tails.remove(&own);
        }
        Some(world)
    }

    fn settle(&mut self, number: usize, own: Tail) {
        let is_first = self.tails.contains(&own) && !self.tails.iter().any(|tail| date(*tail) < date(own));
        let farthest = self.tails.iter().filter(|tail| **tail != own).max_by_key(|tail| rank(**tail)).copied();
        let client = &mut self.clients[number];
        client.at = match farthest {
            _ if is_first => {
                client.heard = own;
                At::Listing
            }
            Some(other) => At::Undoing { own, other },
            None => {
                client.lost = true;
                At::Listing
            }
        };
    }

    /// The client continues at the farthest tail, if that is farther than its own.
    fn superseded(&mut self, number: usize) -> bool {
        let farthest = self.tails.iter().max_by_key(|tail| rank(**tail)).copied();
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
            At::First { .. } => return,
            At::Settling(own) => return self.settle(number, own),
            At::Undoing { own, other } => {
                self.tails.remove(&own);
                self.clients[number].heard = other;
                At::Listing
            }
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
            if let Some(unlisted) = self.unlisted(number) {
                next.push((format!("{number} cannot list"), unlisted));
            }
            if let At::First { stored, listed } = &client.at {
                let first = self.first(number, *stored, listed.as_ref());
                // The client repeats a request whose answer is lost.
                let unheard = first.iter().filter(|_| client.loses && stored.is_none()).map(|world| {
                    let mut world = world.with(number, At::First { stored: None, listed: None });
                    (world.clients[number].loses, world.clients[number].heard) = (false, (0, 0));
                    (format!("{number} is not heard"), world)
                });
                next.extend(unheard);
                next.extend(first.into_iter().map(|world| (format!("{number} {:?}", client.at), world)));
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
        if kept.unwrap_or(0) < farthest.unwrap_or(0) {
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

#[test]
fn of_first_requests_that_come_several_times_one_tail_stays() {
    assert!(explore(World::without_bytes(1, true)).unwrap() > 10);
    assert!(explore(World::without_bytes(2, true)).unwrap() > 1000);
}

#[test]
fn if_each_took_its_tail_back_for_the_other_none_would() {
    let found = explore(World::without_bytes(2, false)).unwrap_err();
    assert!(found.contains("lost its bytes") || found.contains("newest tail is gone"), "{found}");
}

#[test]
fn if_a_request_that_cannot_list_took_its_tail_back_others_would_be_lost() {
    let found = explore(World { leaves: false, ..World::without_bytes(2, true) }).unwrap_err();
    assert!(found.contains("lost its bytes") || found.contains("newest tail is gone"), "{found}");
}
