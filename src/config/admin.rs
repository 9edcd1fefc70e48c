//! Reads `[admin]`.

use std::net::{Ipv4Addr, SocketAddr};

use super::Admin;
use super::section::Section;

/// What everybody's examples use.
const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9187);

/// Reads the table. Beyond this machine nothing is served without a token: status
/// names PBXs and sinks, the page shows calls.
pub(super) fn read(section: &mut Section) -> Admin {
    let listen = section.parsed("listen", "an address like \"127.0.0.1:9187\"", |text| {
        text.parse().map_err(|_| {
            format!("must be an IP address and a port, like \"{DEFAULT}\" or \"[::1]:9187\"")
        })
    });
    let listen: SocketAddr = listen.unwrap_or(DEFAULT);
    let token = section.secret("token");
    let show_numbers = section.flag("show_numbers", false);
    if !listen.ip().is_loopback() && token.is_none() && !section.has_faults() {
        section.problem(
            "listen",
            format!("{listen} can be reached from other machines, and there is no \"token\"; add token = {{ credential = \"NAME\" }}, or listen on \"{DEFAULT}\""),
        );
    }
    Admin { listen, token, show_numbers }
}
