//! Network interfaces, and which network card of the instance each is on.

use std::fs;

use super::{Roots, text};
use crate::ec2::imds::Service;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// As the kernel names it.
    pub name: String,
    pub mac: String,
    /// Number of its network card; None if nobody said.
    pub card: Option<u32>,
}

/// Interfaces that hardware, or a hypervisor, stands behind and that are up, in order of their names.
pub fn interfaces(roots: &Roots) -> Vec<Interface> {
    let directory = roots.sys.join("class/net");
    let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
    let mut found: Vec<Interface> = entries
        .filter(|entry| entry.path().join("device").exists())
        .filter(|entry| text(&entry.path().join("operstate")).is_some_and(|state| state == "up"))
        .filter_map(|entry| {
            let mac = text(&entry.path().join("address"))?;
            Some(Interface { name: entry.file_name().into_string().ok()?, mac, card: None })
        })
        .collect();
    found.sort_by(|a, b| (a.name.len(), &a.name).cmp(&(b.name.len(), &b.name)));
    found
}

/// Asks the metadata service for the cards of several interfaces.
pub fn ask_cards(interfaces: &mut [Interface], service: &Service, notes: &mut Vec<String>) {
    match service.network_cards() {
        Ok(cards) => {
            for interface in interfaces {
                interface.card = cards.iter().find(|(mac, _)| *mac == interface.mac).map(|(_, card)| *card);
            }
        }
        Err(trouble) => notes.push(format!("instance metadata service, network cards: {trouble}")),
    }
}
