//! Reads `[pbx.NAME.webhook]`: where the PBX may post its events to.

use std::net::SocketAddr;

use super::section::Section;
use super::{Identity, Pbx, Webhook, auth, tls};

/// Stands in for what a fault was told about.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Reads the table of the PBX called `pbx`.
pub(super) fn read(pbx: &str, section: &mut Section) -> Webhook {
    let wanted = "an address in quotes like \"0.0.0.0:8443\"";
    if !section.has("listen") {
        section.missing("listen", "\"0.0.0.0:8443\"");
    }
    let listen = section.parsed("listen", wanted, |text| {
        text.parse().map_err(|_| {
            format!("is no IP address with a port: {text:?}; write one like \"0.0.0.0:8443\" or \"[::1]:8080\"")
        })
    });
    let path = section.parsed("path", "a path in quotes like \"/portsip/hq\"", check_path);
    if !section.has("auth") {
        section.missing("auth", "{ bearer = { file = \"/PATH\" } }, as the PBX is told to send it");
    }
    let auth = section.optional_table("auth", auth::read).flatten();
    let identity = section.optional_table("tls", read_identity).flatten();
    let listen_or = listen.unwrap_or(NOWHERE);
    if identity.is_none() && !listen_or.ip().is_loopback() && !section.is_faulty("tls") {
        section.problem(
            "tls",
            "without \"tls\" calls and secrets would travel unencrypted; add tls = { cert_file = \"/PATH\", key_file = \"/PATH\" }, or listen on 127.0.0.1 behind a proxy that has it",
        );
    }
    Webhook {
        listen: listen_or,
        path: path.unwrap_or_else(|| format!("/portsip/{pbx}")),
        auth: auth.unwrap_or_else(|| super::Auth::Bearer(crate::secret::Secret::new(""))),
        identity,
    }
}

fn read_identity(section: &mut Section) -> Option<Identity> {
    let identity = tls::identity(section);
    if identity.is_none() && !section.has_faults() {
        section.problem_here("give cert_file and key_file");
    }
    identity
}

fn check_path(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"?#%\\\"".contains(&b));
    match text.starts_with('/') && plain {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "must begin with / and have no spaces, ?, # or %: {text:?}; write one like \"/portsip/hq\""
        )),
    }
}

/// What several webhooks at one address must and must not have in common: the name of
/// the PBX at fault, and what is wrong.
pub(super) fn clash(pbxs: &[Pbx]) -> Option<(&Pbx, String)> {
    let all: Vec<_> = pbxs.iter().filter_map(|pbx| Some((pbx, pbx.webhook.as_ref()?))).collect();
    for (at, (pbx, webhook)) in all.iter().enumerate() {
        let before = all[..at].iter().filter(|(_, other)| other.listen == webhook.listen);
        for (first, other) in before {
            let listen = webhook.listen;
            let name = &first.name;
            if other.path == webhook.path {
                let path = &webhook.path;
                return Some((
                    pbx,
                    format!(
                        "{listen}{path} is the webhook of [pbx.{name}] already; give each its own path"
                    ),
                ));
            }
            if other.identity != webhook.identity {
                return Some((
                    pbx,
                    format!(
                        "{listen} has another \"tls\" in [pbx.{name}]; one address has one certificate"
                    ),
                ));
            }
        }
    }
    None
}
