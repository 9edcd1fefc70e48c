//! The simulated office: people, queues, lines, and who calls from outside.
//!
//! Fixed tables and draws from them; what the people do is in [`super::flows`].

use fastrand::Rng;

use super::options::DOMAIN;

/// SIP domain of everybody outside.
pub const OUTSIDE: &str = "sip.carrier.example";

/// One end of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// Number as dialled: an extension, or with `+` and country code.
    pub number: String,
    /// Display name, empty where nobody sent one.
    pub name: String,
    /// SIP domain.
    pub domain: &'static str,
}

/// A queue and the extensions of its agents.
#[derive(Debug, PartialEq, Eq)]
pub struct Queue {
    /// The PBX's id of it.
    pub id: &'static str,
    /// Its number.
    pub number: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Who it rings.
    pub agents: &'static [&'static str],
}

/// A trunk to a carrier.
#[derive(Debug, PartialEq, Eq)]
pub struct Trunk {
    /// The PBX's id of it.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Numbers that callers reach the office by.
    pub dids: &'static [&'static str],
}

/// Extension number, name, and the PBX's id of it.
pub const EXTENSIONS: [(&str, &str, &str); 12] = [
    ("101", "Anna Müller", "744028201583607809"),
    ("102", "James O'Neill", "744028201583607810"),
    ("103", "Søren Østergård", "744028201583607811"),
    ("104", "王伟", "744028201583607812"),
    ("105", "Zoë Lefèvre", "744028201583607813"),
    ("106", "Иван Петров", "744028201583607814"),
    ("107", "Priya Nair", "744028201583607815"),
    ("108", "Łukasz Żak", "744028201583607816"),
    ("109", "Chloe \"CJ\" Jones", "744028201583607817"),
    ("110", "محمد علي", "744028201583607818"),
    ("111", "Front Desk", "744028201583607819"),
    ("112", "Workshop & Yard", "744028201583607820"),
];

/// The two queues.
pub const QUEUES: [Queue; 2] = [
    Queue {
        id: "744028377120243712",
        number: "8001",
        name: "Sales",
        agents: &["103", "104", "105", "106"],
    },
    Queue {
        id: "744028377120243713",
        number: "8002",
        name: "Kundendienst für Geräte",
        agents: &["107", "108", "109"],
    },
];

/// The two trunks.
pub const TRUNKS: [Trunk; 2] = [
    Trunk {
        id: "744028290117160960",
        name: "carrier-one",
        dids: &["+493012345600", "+493012345611"],
    },
    Trunk { id: "744028290117160961", name: "carrier-two", dids: &["+442079460100"] },
];

/// The announcement that answers every queue call first.
pub fn ivr() -> Party {
    inside("8000", "Main Menu")
}

/// The queue itself, as a destination.
pub fn queue_line(queue: &Queue) -> Party {
    inside(queue.number, queue.name)
}

/// The person at an extension; the number itself where nobody has it.
pub fn person(number: &str) -> Party {
    let name = EXTENSIONS.iter().find(|(n, ..)| *n == number).map_or("", |(_, name, _)| name);
    inside(number, name)
}

/// The PBX's id of an extension, if it is one.
pub fn extension_id(number: &str) -> Option<&'static str> {
    EXTENSIONS.iter().find(|(n, ..)| *n == number).map(|(.., id)| *id)
}

/// A colleague who is none of `but`.
pub fn colleague(rng: &mut Rng, but: &[&str]) -> Party {
    loop {
        let (number, ..) = EXTENSIONS[rng.usize(..EXTENSIONS.len())];
        if !but.contains(&number) {
            return person(number);
        }
    }
}

/// Somebody outside; one in three has a name.
pub fn outsider(rng: &mut Rng) -> Party {
    const PREFIXES: [&str; 5] = ["+4930", "+4420", "+3314", "+1415", "0089"];
    const NAMES: [&str; 6] =
        ["Bäckerei Schröder", "ACME, Inc.", "Núñez & Söhne", "東京商事", "=SUM(A1:A9)", "Smith"];
    let prefix = PREFIXES[rng.usize(..PREFIXES.len())];
    let number = format!("{prefix}{:07}", rng.u32(..10_000_000));
    let name = NAMES[rng.usize(..NAMES.len())];
    Party {
        number,
        name: if rng.u8(..3) == 0 { name.into() } else { String::new() },
        domain: OUTSIDE,
    }
}

fn inside(number: &str, name: &str) -> Party {
    Party { number: number.into(), name: name.into(), domain: DOMAIN }
}
