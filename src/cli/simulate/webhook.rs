//! Flags for the simulated PBX's own webhook.

use std::path::PathBuf;
use std::time::Duration;

use super::seconds;
use crate::simulator::{WebhookAuth, WebhookOptions};

/// The PBX's own webhook.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Webhook of the PBX")]
pub struct WebhookArgs {
    /// POST every event of a call there, too; calls then begin at once
    #[arg(long, value_name = "URL")]
    pub webhook: Option<String>,
    /// How the PBX shows who it is: basic:USER:PASSWORD, digest:USER:PASSWORD or
    /// bearer:TOKEN
    #[arg(long, value_name = "HOW", requires = "webhook", value_parser = auth)]
    webhook_auth: Option<WebhookAuth>,
    /// PEM file with the certificate, or the CA, of the receiver
    #[arg(long, value_name = "FILE", requires = "webhook", conflicts_with = "webhook_insecure")]
    webhook_ca: Option<PathBuf>,
    /// Take any certificate of the receiver
    #[arg(long, requires = "webhook")]
    webhook_insecure: bool,
    /// Seconds to wait before each further try of an event
    #[arg(long, value_name = "LIST", requires = "webhook", value_delimiter = ',',
          default_value = "10,50,120,240,480", value_parser = seconds)]
    webhook_retries: Vec<Duration>,
}

fn auth(text: &str) -> Result<WebhookAuth, String> {
    let two = |text: &str| text.split_once(':').map(|(user, word)| (user.into(), word.into()));
    let auth = match text.split_once(':') {
        Some(("bearer", token)) => Some(WebhookAuth::Bearer(token.into())),
        Some(("basic", rest)) => two(rest).map(|(user, word)| WebhookAuth::Basic(user, word)),
        Some(("digest", rest)) => two(rest).map(|(user, word)| WebhookAuth::Digest(user, word)),
        _ => None,
    };
    auth.ok_or_else(|| "write basic:USER:PASSWORD, digest:USER:PASSWORD or bearer:TOKEN".into())
}

impl WebhookArgs {
    /// The webhook, if there is to be one.
    pub fn options(&self) -> Option<WebhookOptions> {
        self.webhook.as_ref().map(|url| WebhookOptions {
            url: url.clone(),
            auth: self.webhook_auth.clone().unwrap_or_default(),
            ca_file: self.webhook_ca.clone(),
            insecure: self.webhook_insecure,
            retries: self.webhook_retries.clone(),
        })
    }
}
