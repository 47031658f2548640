//! Nodes as network namespaces: a hub with the servers, and a link with a limit from it to each node.
//!
//! The root namespace has no port and no link of this, so that nothing is reachable from outside the machine. A process
//! that a thread starts is in the thread's namespace.

use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// All namespaces of this scenario begin so. One run at a time: a run removes what an earlier one left.
const PREFIX: &str = "pounce-fleet-";
const HUB: &str = "pounce-fleet-hub";
/// The hub's address, which all nodes reach.
pub const HUB_ADDRESS: &str = "10.77.0.1";
/// A node's link, each way: 25 MB/s.
const RATE: &str = "200mbit";
/// `tbf` holds what one segment offload hands over at once, and a queue of some 80 ms, as a switch has.
const SHAPE: [&str; 4] = ["burst", "256kb", "limit", "2mb"];

/// The namespaces. Dropping the value ends what runs in them, and removes them.
pub struct Network {
    nodes: usize,
}

impl Network {
    /// The hub, and so many nodes (at most 250).
    ///
    /// # Errors
    /// This machine cannot have them; in a sentence for the table.
    pub fn build(nodes: usize) -> Result<Self, String> {
        remove_all();
        let network = Self { nodes };
        run("ip", &["netns", "add", HUB])?;
        run("ip", &["-n", HUB, "link", "set", "lo", "up"])?;
        run("ip", &["-n", HUB, "link", "add", "br0", "type", "bridge"])?;
        run("ip", &["-n", HUB, "address", "add", &format!("{HUB_ADDRESS}/16"), "dev", "br0"])?;
        run("ip", &["-n", HUB, "link", "set", "br0", "up"])?;
        for node in 0..nodes {
            let (namespace, port) = (namespace(node), port(node));
            run("ip", &["netns", "add", &namespace])?;
            run("ip", &["-n", HUB, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
            run("ip", &["-n", HUB, "link", "set", &port, "master", "br0", "up"])?;
            let address = format!("10.77.1.{}/16", node + 1);
            run("ip", &["-n", &namespace, "address", "add", &address, "dev", "eth0"])?;
            run("ip", &["-n", &namespace, "link", "set", "lo", "up"])?;
            run("ip", &["-n", &namespace, "link", "set", "eth0", "up"])?;
        }
        network.limit()?;
        Ok(network)
    }

    /// Limits every link, at both ends.
    pub fn limit(&self) -> Result<(), String> {
        self.at_both_ends(|namespace, link| {
            let limit = ["-n", namespace, "qdisc", "replace", "dev", link, "root", "tbf", "rate", RATE];
            run("tc", &[&limit[..], &SHAPE].concat())
        })
    }

    /// Takes the limits away, so that the harness can be measured by itself.
    pub fn lift(&self) -> Result<(), String> {
        self.at_both_ends(|namespace, link| run("tc", &["-n", namespace, "qdisc", "del", "dev", link, "root"]))
    }

    fn at_both_ends(&self, act: impl Fn(&str, &str) -> Result<(), String>) -> Result<(), String> {
        (0..self.nodes).try_for_each(|node| {
            act(HUB, &port(node))?;
            act(&namespace(node), "eth0")
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove_all();
    }
}

/// Moves this thread, and what it starts from now on, into the hub.
pub fn enter_hub() {
    enter(HUB);
}

/// Moves this thread, and what it starts from now on, into a node.
pub fn enter_node(node: usize) {
    enter(&namespace(node));
}

fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

/// Ends the processes in the namespaces of this scenario, and removes the namespaces with their links.
pub fn remove_all() {
    let listed = Command::new("ip").args(["netns", "list"]).output();
    let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let names = listed.lines().filter_map(|line| line.split(' ').next());
    for name in names.filter(|name| name.starts_with(PREFIX)) {
        // A process whose first thread is elsewhere is not listed: the harness is not.
        if let Ok(output) = Command::new("ip").args(["netns", "pids", name]).output() {
            for pid in String::from_utf8_lossy(&output.stdout).lines() {
                let _ = Command::new("kill").args(["-KILL", pid]).status();
            }
        }
        let _ = run("ip", &["netns", "del", name]);
    }
}

fn namespace(node: usize) -> String {
    format!("{PREFIX}{}", node + 1)
}

/// The hub's end of a node's link.
fn port(node: usize) -> String {
    format!("node{}", node + 1)
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}: install iproute2"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("it said nothing").replace('|', " ");
    Err(format!("{program} {}: {said} (network namespaces need root)", arguments.join(" ")))
}
