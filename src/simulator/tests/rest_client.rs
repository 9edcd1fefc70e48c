//! A plain HTTP client for the tests, written from the protocol page.

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::client::LIMIT;
use crate::simulator::{PASSWORD, Simulator};

/// What the page says that every client sends.
pub const CLIENT_ID: &str = "9d806019-75b2-4b3d-bb8b-f5a3a412cc0a";

pub struct Rest {
    client: reqwest::Client,
    base: String,
    pub token: String,
}

/// Status, and the body as JSON.
pub type Said = (u16, Value);

impl Rest {
    pub fn to(simulator: &Simulator) -> Self {
        let provider = rustls::crypto::ring::default_provider();
        let mut roots = rustls::RootCertStore::empty();
        if let Some(pem) = simulator.certificate_pem() {
            use rustls::pki_types::{CertificateDer, pem::PemObject};
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        }
        let tls = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls);
        let client = client.no_proxy().timeout(LIMIT).build().unwrap();
        Self { client, base: simulator.rest_url(), token: String::new() }
    }

    pub async fn logged_in(simulator: &Simulator) -> Self {
        let mut rest = Self::to(simulator);
        rest.log_in("cdr").await;
        rest
    }

    pub async fn log_in(&mut self, user: &str) -> Value {
        let (status, grant) = self.oauth(&password_grant(user)).await;
        assert_eq!(status, 200, "{grant}");
        self.token = grant["access_token"].as_str().unwrap().into();
        grant
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        request.header("Authorization", format!("Bearer {}", self.token))
    }

    pub async fn oauth(&self, fields: &[(&str, &str)]) -> Said {
        self.form("/login/oauth/token", fields).await
    }

    pub async fn form(&self, path: &str, fields: &[(&str, &str)]) -> Said {
        let mut url = reqwest::Url::parse("http://form.invalid/").unwrap();
        url.query_pairs_mut().extend_pairs(fields);
        let request = self
            .client
            .post(format!("{}{path}", self.base))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(url.query().unwrap_or_default().to_string());
        said(request.send().await.unwrap()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Said {
        let request = self.request(Method::POST, path).header("Content-Type", "application/json");
        said(request.body(body.to_string()).send().await.unwrap()).await
    }

    pub async fn send(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Response, reqwest::Error> {
        let mut url = reqwest::Url::parse("http://query.invalid/").unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let path = format!("{path}?{}", url.query().unwrap_or_default());
        self.request(Method::GET, &path).send().await
    }

    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Said {
        said(self.send(path, query).await.unwrap()).await
    }

    /// The items of a list that must be answered.
    pub async fn items(&self, path: &str, query: &[(&str, &str)]) -> Vec<Value> {
        let (status, body) = self.get(path, query).await;
        assert_eq!(status, 200, "{body}");
        body["items"].as_array().unwrap().clone()
    }

    /// The sessions of `/calllogs`, oldest first.
    pub async fn sessions(&self, query: &[(&str, &str)]) -> Vec<String> {
        let query = [query, &[("orderby", "started_at asc"), ("top", "100000")]].concat();
        let items = self.items("/calllogs", &query).await;
        items.iter().map(|item| item["session_id"].as_str().unwrap().into()).collect()
    }
}

pub fn password_grant(user: &str) -> Vec<(&str, &str)> {
    let mut fields = vec![
        ("grant_type", "password"),
        ("username", user),
        ("password", PASSWORD),
        ("scope", "all"),
        ("client_id", CLIENT_ID),
    ];
    if user != "admin" {
        fields.push(("domain", "example.com"));
    }
    fields
}

pub fn sign_in(user: &str) -> Value {
    json!({"username": user, "password": PASSWORD, "domain": "example.com"})
}

pub async fn said(response: Response) -> Said {
    assert!(response.headers().contains_key("date"));
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text:?}")))
}
