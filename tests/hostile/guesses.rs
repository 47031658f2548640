//! Password guesses must leave time for other clients' password comparisons.

use std::net::Ipv4Addr;
use std::time::Duration;

use pounce::auth;

use crate::support::Pounce;
use crate::support::attacks::guesses::{guess, login};

/// A registry with one user, whose password has the default bcrypt cost.
async fn closed() -> Pounce {
    let lines = ["alice", "bob"].map(|user| auth::htpasswd_line(user, user, 10).unwrap());
    Pounce::with(&[("REGISTRY_AUTH_HTPASSWD_USERS", &lines.join(","))]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn eighty_guessers_of_one_neighbourhood_keep_no_first_login_out() {
    let pounce = closed().await;
    let from: Vec<_> = (1..=80).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect();
    let guessing = guess(pounce.addr, &from, "alice");
    let logins = async {
        let mut statuses = Vec::new();
        for third in 1..=5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            statuses.push(login(pounce.addr, Ipv4Addr::new(127, 1, third, 1), "bob", "bob").await);
        }
        // The guessed user logs in, from elsewhere.
        statuses.push(login(pounce.addr, Ipv4Addr::new(127, 2, 0, 1), "alice", "alice").await);
        statuses
    };
    let (guesses, logins) = tokio::join!(guessing, logins);
    assert_eq!(logins, [200; 6]);
    assert!(guesses.iter().all(|it| [401, 429].contains(it)), "{guesses:?}");
    assert!(guesses.contains(&429), "{guesses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn guessers_of_many_neighbourhoods_keep_no_first_login_out() {
    let pounce = closed().await;
    let near = |third| (1..=5).map(move |last| Ipv4Addr::new(127, 3, third, last));
    let from: Vec<_> = (1..=20).flat_map(near).collect();
    let guessing = guess(pounce.addr, &from, "alice");
    let logins = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        login(pounce.addr, Ipv4Addr::new(127, 1, 1, 1), "alice", "alice").await
    };
    let (_, status) = tokio::join!(guessing, logins);
    assert_eq!(status, 200);
}
