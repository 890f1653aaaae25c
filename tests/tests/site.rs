//! The verbs without the command: one site in one process, with one thread, and requests that overlap.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use samebundle_registry::Source;
use samebundle_runtime::build::BuildTools;
use samebundle_runtime::driver::embedded::{EmbeddedDriver, Helper};
use samebundle_runtime::driver::{Candidate, Driver};
use samebundle_runtime::event::Silent;
use samebundle_runtime::verbs::{
    self, Consent, CredentialsGiven, Drivers, ExportRequest, Given, InstallRequest, MetadataGiven, Network,
    Reach, RunRequest, Site, UninstallRequest,
};
use samebundle_runtime::{Clock, Context, Events, Home};
use samebundle_spec::authoring::Runs;
use samebundle_spec::record::RunStatus;
use samebundle_spec::{Classify, ErrorKind};
use samebundle_tests::{Sandbox, Test, command_under_test, greet, skip, tests};
use tokio_util::sync::CancellationToken;

pub(crate) const TESTS: &[Test] = tests![requests_for_one_installation_at_the_same_time_wait_for_each_other];

/// Ids that follow one another.
#[derive(Debug, Default)]
struct Counting(AtomicU64);

impl Clock for Counting {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn new_id(&self) -> String {
        format!("01{:024}", self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Debug)]
struct Embedded;

impl Drivers for Embedded {
    fn candidates(&self, home: &Home, _events: Arc<dyn Events>, images: Arc<dyn Source>) -> Vec<Candidate> {
        let helper = Helper {
            program: command_under_test(),
            arguments: vec!["internal-container".to_owned()],
        };
        let driver: Arc<dyn Driver> = Arc::new(EmbeddedDriver::new(home.root(), images, helper));
        vec![Candidate::new("embedded", move || {
            let driver = Arc::clone(&driver);
            async move { Ok(driver) }
        })]
    }
}

fn site(home: &Path) -> Site {
    let context = Context {
        clock: Arc::new(Counting::default()),
        home: Home::open(home).unwrap(),
        cancel: CancellationToken::new(),
        events: Arc::new(Silent),
        offline: true,
    };
    let network = Network {
        credentials: Vec::new(),
        registries: Vec::new(),
        insecure: std::collections::BTreeSet::new(),
        secure: std::collections::BTreeSet::new(),
        proxies: samebundle_registry::remote::network::Proxies::default(),
        certificates: Vec::new(),
        clock: || SystemTime::UNIX_EPOCH,
    };
    let reach = Reach {
        network,
        drivers: Box::new(Embedded),
        tools: BuildTools::default(),
        runner: b"",
    };
    Site::new(context, reach)
}

fn install(name: &str) -> InstallRequest {
    InstallRequest {
        wanted: None,
        from: "greet".parse().unwrap(),
        name: Some(name.parse().unwrap()),
        parameters: Given::default(),
        credentials: CredentialsGiven::default(),
        environment: None,
        consent: Consent {
            allow_unsigned: true,
            allow_downgrade: false,
        },
    }
}

fn run(who: &str) -> RunRequest {
    RunRequest {
        name: "hello".parse().unwrap(),
        credentials: CredentialsGiven::default(),
        parameters: Given {
            texts: [("who".to_owned(), who.to_owned())].into(),
            ..Given::default()
        },
        environment: None,
        action: "run".to_owned(),
        metadata: MetadataGiven::default(),
        reuse: Default::default(),
    }
}

fn export(folder: &Path, file: &str) -> ExportRequest {
    ExportRequest {
        name: "hello".parse().unwrap(),
        file: Some(file.into()),
        folder: folder.to_owned(),
        runs: Runs::All,
        metadata: Default::default(),
        outputs: Default::default(),
        since: None,
        since_key: None,
        volumes: None,
    }
}

fn requests_for_one_installation_at_the_same_time_wait_for_each_other() {
    let Some(greet) = greet() else {
        return skip("site: the busybox image was not made (tests/setup/images)");
    };
    let sandbox = Sandbox::new();
    let home = greet.publisher(&sandbox);
    let site = site(home.path());
    // One thread: a request that blocks it while another holds what it waits for would never end.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let work = async {
        let (one, two) = tokio::join!(
            verbs::install(&site, install("hello")),
            verbs::install(&site, install("hello"))
        );
        assert_eq!(one.unwrap().installation.index, two.unwrap().installation.index);

        let (one, two) = tokio::join!(verbs::run(&site, run("one")), verbs::run(&site, run("two")));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(
            (one.status, two.status),
            (RunStatus::Succeeded, RunStatus::Succeeded)
        );
        assert_ne!(one.run, two.run);

        let (one, two) = tokio::join!(
            verbs::export(&site, export(sandbox.path(), "one.tgz")),
            verbs::export(&site, export(sandbox.path(), "two.tgz"))
        );
        assert_eq!(one.unwrap().runs.len(), 2);
        assert_eq!(two.unwrap().runs.len(), 2);

        let name = || UninstallRequest {
            name: "hello".parse().unwrap(),
            environment: None,
        };
        let (one, two) = tokio::join!(verbs::uninstall(&site, name()), verbs::uninstall(&site, name()));
        let failed = [one, two].into_iter().filter_map(Result::err).collect::<Vec<_>>();
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert_eq!(failed[0].kind(), ErrorKind::NotFound, "{}", failed[0]);
    };
    let ended = runtime
        .unwrap()
        .block_on(async { tokio::time::timeout(Duration::from_secs(120), work).await });
    assert!(ended.is_ok(), "the requests wait for each other for ever");
    let one = std::fs::read(sandbox.path().join("one.tgz")).unwrap();
    assert!(!one.is_empty());
}
