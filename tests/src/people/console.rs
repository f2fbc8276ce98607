//! The web console as a browser speaks to it, without the browser: for what must hold whatever a
//! client sends.

use http::Method;
use reqwest::{Client, RequestBuilder};
use url::form_urlencoded;

use crate::{
    clients::http::{Answer, Ask, client},
    people::{ControlApi, User},
    processes::secrets::Secrets,
};

/// The name of the cookie that holds a login, over http.
pub const COOKIE: &str = shared::web::cookie::CONSOLE;

/// Somebody at the console, who may be logged in.
#[derive(Clone)]
pub struct Visitor {
    url: String,
    http: Client,
    secrets: Secrets,
    login: Option<String>,
}

impl std::fmt::Debug for Visitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visitor").field("is_logged_in", &self.login.is_some()).finish_non_exhaustive()
    }
}

impl ControlApi {
    /// Somebody who has not logged in to the console.
    pub fn visitor(&self) -> Visitor {
        Visitor { url: self.url.clone(), http: self.http.clone(), secrets: self.secrets.clone(), login: None }
    }
}

impl User {
    /// Logs in to the console.
    pub async fn enters_console(&self, api: &ControlApi) -> Visitor {
        let mut visitor = api.visitor();
        let answer = visitor.logs_in(&self.email, &self.password).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/console"), "{}", answer.text());
        visitor
    }
}

impl Visitor {
    /// Somebody who has not logged in to the console of this origin.
    pub fn at(url: &str) -> Self {
        let http = client().build().expect("a client");
        Self { url: url.to_owned(), http, secrets: Secrets::default(), login: None }
    }

    /// The same with this login, of any user.
    pub fn with_login(&self, login: &str) -> Self {
        Self { login: Some(login.to_owned()), ..self.clone() }
    }

    /// The value of the cookie.
    pub fn login(&self) -> &str {
        self.login.as_deref().expect("somebody who is logged in")
    }

    /// A request to a path of the console, by the holder of its cookie, from any page.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.login {
            Some(login) => request.header("Cookie", format!("{COOKIE}={login}")),
            None => request,
        }
    }

    /// Opens a page.
    pub async fn gets(&self, path: &str) -> Answer {
        self.request(Method::GET, path).answer().await
    }

    /// Sends a form of one of the console's own pages.
    pub async fn posts(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.form(path, fields).header("Origin", &self.url).answer().await
    }

    /// A form that may come from anywhere.
    pub fn form(&self, path: &str, fields: &[(&str, &str)]) -> RequestBuilder {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.request(Method::POST, path).header("Content-Type", "application/x-www-form-urlencoded");
        request.body(body)
    }

    /// Sends the form that logs in, and keeps the login if there is one.
    pub async fn logs_in(&mut self, email: &str, password: &str) -> Answer {
        let answer = self.posts("/console/login", &[("email", email), ("password", password)]).await;
        self.keeps(&answer);
        answer
    }

    /// Keeps the login that an answer brings, as a browser does.
    pub fn keeps(&mut self, answer: &Answer) {
        let lines = answer.headers.get_all("set-cookie").iter().filter_map(|line| line.to_str().ok());
        // One of a longer path is another cookie.
        let lines = lines.filter(|line| line.split("; ").any(|part| part == "Path=/"));
        let ours = lines.filter_map(|line| line.split(';').next()?.strip_prefix(COOKIE)?.strip_prefix('='));
        for login in ours {
            self.login = Some(login.to_owned()).filter(|login| !login.is_empty());
        }
        if let Some(login) = &self.login {
            self.secrets.remember("login", login);
        }
    }

    /// Whether the console knows the holder of its cookie.
    pub async fn is_known(&self) -> bool {
        let answer = self.gets("/console/profile").await;
        if answer.status == 303 {
            assert!(answer.header("location").starts_with("/console/login?next="), "{answer:?}");
        } else {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        answer.status == 200
    }
}
