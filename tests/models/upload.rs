//! Two requests race on one state of an upload, each with its own bytes under the same part number
//! (`registry/uploads`): the key of a digest holds bytes with that digest, or nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Model, explore};

/// The second part of a client's blob, which has two parts.
type Byte = u8;
const FIRST: Byte = 1;

/// A client's progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// PATCH: the part is on its way.
    Sending,
    /// PUT: the replica lists the parts.
    Listing,
    Completing,
    /// The completed object is the one that the state vouches for.
    Renaming,
    /// The replica has to hash the object.
    Hashing,
    /// The bytes are wrong: the replica throws the upload away.
    Discarding,
    Linking,
    Acknowledged,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Client {
    byte: Byte,
    at: At,
    /// The client's replica may die once more.
    mortal: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    /// The multipart upload's second part, if any, while the upload is open.
    open: Option<Vec<Byte>>,
    /// The completed object.
    data: Option<Byte>,
    /// Blobs by the content that their digest names.
    blobs: BTreeMap<Byte, Byte>,
    links: BTreeSet<Byte>,
    clients: Vec<Client>,
    /// The sweeper ran, and does not run again.
    swept: bool,
    /// The replica compares the parts with those that it hashed.
    guarded: bool,
}

impl World {
    fn start(bytes: &[Byte], guarded: bool) -> Self {
        let client = |byte: &Byte| Client { byte: *byte, at: At::Sending, mortal: true };
        Self {
            open: Some(Vec::new()),
            data: None,
            blobs: BTreeMap::new(),
            links: BTreeSet::new(),
            clients: bytes.iter().map(client).collect(),
            swept: false,
            guarded,
        }
    }

    fn step(&mut self, number: usize) {
        let Client { byte, at, .. } = self.clients[number];
        let then = match at {
            At::Sending => match &mut self.open {
                Some(part) => {
                    *part = vec![byte];
                    At::Listing
                }
                None => At::Failed,
            },
            At::Listing => match &self.open {
                None => At::Hashing,
                Some(part) if *part == [byte] || !self.guarded => At::Completing,
                Some(_) => At::Failed,
            },
            At::Completing => match &self.open {
                None => At::Hashing,
                // The completion names the ETags of its own parts.
                Some(part) if self.guarded && *part != [byte] => At::Failed,
                Some(part) => {
                    self.data = part.first().copied();
                    self.open = None;
                    At::Renaming
                }
            },
            At::Hashing => match self.data {
                Some(found) if found == byte => At::Renaming,
                Some(_) => At::Discarding,
                None => self.if_there(byte),
            },
            At::Renaming => match self.data.take() {
                Some(found) => {
                    self.blobs.insert(byte, found);
                    At::Linking
                }
                None => self.if_there(byte),
            },
            At::Discarding => {
                (self.open, self.data) = (None, None);
                At::Failed
            }
            At::Linking => {
                self.links.insert(byte);
                At::Acknowledged
            }
            At::Acknowledged | At::Failed => at,
        };
        self.clients[number].at = then;
    }

    /// A retried rename finds no source if the first one succeeded and its answer was lost.
    fn if_there(&self, byte: Byte) -> At {
        if self.blobs.contains_key(&byte) { At::Linking } else { At::Failed }
    }
}

impl Model for World {
    fn next(&self) -> Vec<(String, Self)> {
        let mut next = Vec::new();
        for (number, client) in self.clients.iter().enumerate() {
            if matches!(client.at, At::Acknowledged | At::Failed) {
                continue;
            }
            let mut stepped = self.clone();
            stepped.step(number);
            next.push((format!("{number} {:?}", client.at), stepped));
            if client.mortal {
                // The client sends the same request again.
                let mut died = self.clone();
                died.clients[number].mortal = false;
                if client.at != At::Sending {
                    died.clients[number].at = At::Listing;
                }
                next.push((format!("{number} dies"), died));
            }
        }
        if !self.swept {
            let mut swept = self.clone();
            (swept.open, swept.data, swept.swept) = (None, None, true);
            next.push(("a sweep".to_owned(), swept));
        }
        next
    }

    fn always(&self) -> Result<(), String> {
        if self.blobs.iter().any(|(named, held)| named != held) {
            return Err("a blob is not what its digest says".to_owned());
        }
        let acknowledged = self.clients.iter().filter(|client| client.at == At::Acknowledged);
        for client in acknowledged {
            if !self.blobs.contains_key(&client.byte) || !self.links.contains(&client.byte) {
                return Err("what was acknowledged is not there".to_owned());
            }
        }
        // A client without rivals succeeds although its replica dies.
        let failed = self.clients.iter().any(|client| client.at == At::Failed);
        if self.clients.len() == 1 && !self.swept && failed {
            return Err("it failed, and nobody disturbed it".to_owned());
        }
        Ok(())
    }

    fn finally(&self) -> Result<(), String> {
        Ok(())
    }

    fn succeeded(&self) -> bool {
        let mut acknowledged = self.clients.iter().map(|client| client.at == At::Acknowledged);
        acknowledged.any(|it| it)
    }
}

#[test]
fn a_digests_key_holds_what_has_the_digest() {
    let (a, b) = (FIRST + 1, FIRST + 2);
    assert!(explore(World::start(&[a], true)).unwrap() > 10);
    assert!(explore(World::start(&[a, b], true)).unwrap() > 200);
    // The same request, sent twice.
    assert!(explore(World::start(&[a, a], true)).unwrap() > 100);
    assert!(explore(World::start(&[a, b, b], true)).unwrap() > 2000);
}

#[test]
fn without_the_chain_of_etags_it_would_not() {
    let found = explore(World::start(&[2, 3], false)).unwrap_err();
    assert!(found.contains("not what its digest says"), "{found}");
}
