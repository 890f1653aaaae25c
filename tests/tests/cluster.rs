//! The tests' own Kubernetes: that it is one, and that it can show what drivers and environments are tried on.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use samebundle_tests::{
    Cluster, Home, Namespace, Ran, Registry, Sandbox, Test, Turn, cache, image, peer, repository, skip,
    tests, wait_for,
};

pub(crate) const TESTS: &[Test] = tests![
    a_job_runs_an_image_of_our_registry_by_digest,
    names_are_resolved_and_services_answer,
    a_restricted_namespace_admits_least_rights_only,
    of_three_pods_with_a_gpu_each_two_run,
    a_queue_with_a_quota_holds_the_second_job,
    the_node_restarts_with_its_data,
    the_image_like_k3s_answers_as_k3s,
    a_cluster_ends_with_whoever_holds_it
];

/// How long a pod may take on a machine that does other things as well.
const LIMIT: Duration = Duration::from_secs(120);

/// A job of one container that calls the shell. Words in capitals are filled in.
const JOB: &str = r#"
apiVersion: batch/v1
kind: Job
metadata: {name: NAME, labels: {kueue.x-k8s.io/queue-name: QUEUE}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 0
      containers:
      - {name: main, image: "BUSYBOX", command: [sh, -c, 'SCRIPT'], resources: {requests: {cpu: 100m}}}
"#;

/// A pod that serves a page, and its service.
const WEB: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: "BUSYBOX"
    command: [sh, -c, "mkdir /www && echo served > /www/index.html && exec httpd -f -p 8080 -h /www"]
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
"#;

/// A pod that says who it is.
const WHO: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: "BUSYBOX", command: [id, -u], securityContext: SECURITY}
"#;

/// The least rights that the strictest standard asks for.
const LEAST: &str = "{runAsNonRoot: true, runAsUser: 1000, allowPrivilegeEscalation: false, \
    capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}}";

/// A pod that holds a GPU.
const GPU: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "BUSYBOX", command: [sleep, "1000"], resources: {limits: {nvidia.com/gpu: 1}}}
"#;

/// A queue in which one job of [`JOB`] has room.
const QUEUE: &str = "
apiVersion: kueue.x-k8s.io/v1beta2
kind: ResourceFlavor
metadata: {name: NAME}
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: ClusterQueue
metadata: {name: NAME}
spec:
  namespaceSelector: {}
  resourceGroups:
  - coveredResources: [cpu]
    flavors: [{name: NAME, resources: [{name: cpu, nominalQuota: 100m}]}]
---
apiVersion: kueue.x-k8s.io/v1beta2
kind: LocalQueue
metadata: {name: ours}
spec: {clusterQueue: NAME}
";

/// The cluster, with the image of busybox in our registry.
struct Bench {
    // Dropped in this order: the cluster stays until the registry has ended.
    _registry: Registry,
    cluster: Turn,
    sandbox: Sandbox,
    /// The reference of busybox, by digest.
    busybox: String,
}

impl Bench {
    /// None (and said) where the cluster or the image is missing.
    fn of(cluster: Result<Turn, String>) -> Option<Self> {
        let busybox =
            image("busybox").ok_or("the busybox image was not made (tests/setup/images)".to_owned());
        let both = cluster.and_then(|cluster| Ok((cluster, busybox?)));
        let (cluster, layout) = both.map_err(|why| skip(&format!("cluster: {why}"))).ok()?;
        let sandbox = Sandbox::new();
        let home = sandbox.home("registry");
        let registry = cluster.registry(&sandbox, &home);
        let busybox = push(&home, &layout, &registry.reference("tools/busybox:1"));
        Some(Self {
            _registry: registry,
            cluster,
            sandbox,
            busybox,
        })
    }

    fn shared() -> Option<Self> {
        Self::of(Cluster::shared())
    }

    /// Applies objects with these words filled in.
    fn apply(&self, space: &Namespace<'_>, objects: &str, words: &[(&str, &str)]) -> Ran {
        let all = [words, &[("BUSYBOX", &self.busybox)]].concat();
        let fill = |text: String, (word, value): &(&str, &str)| text.replace(word, value);
        space.apply(&all.iter().fold(objects.to_owned(), fill))
    }

    /// Starts a [`JOB`] that no queue holds.
    fn start(&self, space: &Namespace<'_>, name: &str, script: &str) {
        let unqueued = JOB.replace(", labels: {kueue.x-k8s.io/queue-name: QUEUE}", "");
        let _ = self
            .apply(space, &unqueued, &[("NAME", name), ("SCRIPT", script)])
            .ok();
    }

    /// What a job says when it has ended well.
    fn says(&self, space: &Namespace<'_>, name: &str, script: &str) -> String {
        self.start(space, name, script);
        wait(space, &format!("job/{name}"), "condition=complete");
        space.kubectl(&["logs", &format!("job/{name}")]).ok().stdout
    }
}

/// Pushes the only image of a layout, and gives its reference by digest.
fn push(home: &Home, layout: &Path, reference: &str) -> String {
    let file = home.path().with_extension("digest");
    let mut command = Command::new(peer("skopeo").unwrap_or_default());
    command.args([
        "copy",
        "--preserve-digests",
        "--dest-tls-verify=false",
        "--digestfile",
    ]);
    command.arg(&file).arg(format!("oci:{}", layout.display()));
    let _ = Ran::of(command.arg(format!("docker://{reference}"))).ok();
    let (repository, _tag) = reference.rsplit_once(':').unwrap();
    format!("{repository}@{}", std::fs::read_to_string(file).unwrap().trim())
}

/// Waits until a job or pod has a condition.
fn wait(namespace: &Namespace<'_>, subject: &str, condition: &str) {
    let (condition, limit) = (
        format!("--for={condition}"),
        format!("--timeout={}s", LIMIT.as_secs()),
    );
    let ran = namespace.kubectl(&["wait", subject, &condition, &limit]);
    let state = || {
        namespace
            .kubectl(&["get", "pods,jobs,events", "-o", "wide"])
            .stdout
    };
    assert_eq!(ran.code, 0, "{subject}: {}\n{}", ran.stderr, state());
}

/// What a namespace has at a JSON path.
fn value(space: &Namespace<'_>, subject: &[&str], path: &str) -> String {
    let path = format!("jsonpath={path}");
    space
        .kubectl(&[&["get", "-o", &path], subject].concat())
        .ok()
        .stdout
}

fn a_job_runs_an_image_of_our_registry_by_digest() {
    let Some(bench) = Bench::shared() else { return };
    let space = bench.cluster.namespace("job");
    assert_eq!(bench.says(&space, "greet", "echo hello; id -u"), "hello\n0\n");
    let image = value(
        &space,
        &["pods"],
        "{.items[*].status.containerStatuses[*].imageID}",
    );
    // The node may have the same content by the name that another test gave it.
    let digest = bench.busybox.split_once('@').unwrap().1;
    assert!(image.ends_with(digest), "{image} is not {digest}");
    let node = bench
        .cluster
        .kubectl(&["get", "node", bench.cluster.node(), "--no-headers"]);
    let (node, version) = (node.ok().stdout, pin("kubernetes"));
    assert!(
        node.contains(" Ready ") && node.contains(&version),
        "not Ready, or not {version}: {node}"
    );
}

/// A version in `tests/cluster/pins`.
fn pin(name: &str) -> String {
    let pins = std::fs::read_to_string(repository().join("tests/cluster/pins")).unwrap();
    let found = pins
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    found.unwrap().to_owned()
}

fn names_are_resolved_and_services_answer() {
    let Some(bench) = Bench::shared() else { return };
    let space = bench.cluster.namespace("names");
    let _ = bench.apply(&space, WEB, &[]).ok();
    wait(&space, "pod/web", "condition=ready");
    let name = format!("web.{}.svc.cluster.local", space.name());
    let script =
        format!("nslookup {name} | grep -c $WEB_SERVICE_HOST; wget -q -O - http://$WEB_SERVICE_HOST/");
    assert_eq!(bench.says(&space, "ask", &script), "1\nserved\n");
    let port = value(&space, &["service", "web"], "{.spec.ports[0].nodePort}");
    let outside = format!("http://{}:{port}/", bench.cluster.address());
    let page = Ran::of(Command::new("curl").args(["-sS", "--noproxy", "*", &outside]));
    assert_eq!(page.ok().stdout, "served\n");
}

fn a_restricted_namespace_admits_least_rights_only() {
    let Some(bench) = Bench::shared() else { return };
    let restricted = ["pod-security.kubernetes.io/enforce=restricted"];
    let space = bench.cluster.namespace_with("restricted", &restricted);
    let refused = bench.apply(&space, WHO, &[("NAME", "rich"), ("SECURITY", "{}")]);
    assert!(
        refused.code != 0 && refused.stderr.contains("violates PodSecurity \"restricted"),
        "admitted, or refused for another reason: {}",
        refused.stderr
    );
    let _ = bench
        .apply(&space, WHO, &[("NAME", "poor"), ("SECURITY", LEAST)])
        .ok();
    wait(&space, "pod/poor", "jsonpath={.status.phase}=Succeeded");
    assert_eq!(space.kubectl(&["logs", "poor"]).ok().stdout, "1000\n");
}

fn of_three_pods_with_a_gpu_each_two_run() {
    let Some(bench) = Bench::shared() else { return };
    let space = bench.cluster.namespace("gpu");
    let _gpus = bench.cluster.gpus(2);
    for name in ["first", "second"] {
        let _ = bench.apply(&space, GPU, &[("NAME", name)]).ok();
        wait(&space, &format!("pod/{name}"), "condition=ready");
    }
    let _ = bench.apply(&space, GPU, &[("NAME", "third")]).ok();
    let reason = r#"{.status.conditions[?(@.type=="PodScheduled")].message}"#;
    let waits = || value(&space, &["pod", "third"], reason).contains("1 Insufficient nvidia.com/gpu");
    wait_for("the third pod to be told that there is no GPU", LIMIT, waits);
    let _ = space.kubectl(&["delete", "pod", "first"]).ok();
    wait(&space, "pod/third", "condition=ready");
    // The pods go before the GPUs do.
    let _ = space.kubectl(&["delete", "pods", "--all"]).ok();
}

fn a_queue_with_a_quota_holds_the_second_job() {
    let Some(bench) = Bench::shared() else { return };
    if let Err(why) = bench.cluster.kueue() {
        return skip(&format!("cluster: {why}"));
    }
    let space = bench.cluster.namespace("queue");
    let _ = bench.apply(&space, QUEUE, &[("NAME", space.name())]).ok();
    let until = "until [ -e /tmp/go ]; do sleep 1; done";
    for (name, script) in [("first", until), ("second", "echo mine")] {
        let words = [("NAME", name), ("SCRIPT", script), ("QUEUE", "ours")];
        let _ = bench.apply(&space, JOB, &words).ok();
        if name == "first" {
            wait(&space, "job/first", "jsonpath={.status.ready}=1");
        }
    }
    let reason = r#"{.items[*].status.conditions[?(@.reason=="Pending")].message}"#;
    let waits = || value(&space, &["workloads"], reason).contains("insufficient unused quota for cpu");
    wait_for("the second job to be told that the quota is used", LIMIT, waits);
    assert_eq!(value(&space, &["job", "second"], "{.spec.suspend}"), "true");
    let _ = space
        .kubectl(&["exec", "job/first", "--", "touch", "/tmp/go"])
        .ok();
    wait(&space, "job/first", "condition=complete");
    wait(&space, "job/second", "condition=complete");
    let _ = space
        .kubectl(&[
            "delete",
            "clusterqueue,resourceflavor",
            space.name(),
            "--wait=false",
        ])
        .ok();
}

fn the_node_restarts_with_its_data() {
    let Some(bench) = Bench::of(Cluster::alone()) else {
        return;
    };
    let space = bench.cluster.namespace("restart");
    let _ = space
        .kubectl(&["create", "configmap", "kept", "--from-literal=value=7"])
        .ok();
    bench.cluster.restart();
    assert_eq!(value(&space, &["configmap", "kept"], "{.data.value}"), "7");
    assert_eq!(bench.says(&space, "after", "echo again"), "again\n");
}

fn the_image_like_k3s_answers_as_k3s() {
    let Some(bench) = Bench::shared() else { return };
    let (host, busybox) = bench.busybox.split_once('/').unwrap();
    start_k3s(&bench, host);
    let inside = |command: &str| {
        bench
            .cluster
            .docker(&["exec", "k3s", "sh", "-ec", command])
            .ok()
            .stdout
    };
    let port = inside(
        "kubectl create service nodeport web --tcp=80 >&2
         kubectl get service web -o jsonpath={.spec.ports[0].nodePort}",
    );
    assert_eq!(port, "31000");
    let said = inside(&format!(
        "kubectl create job greet --image=docker.io/{busybox} -- echo mirrored >&2
         kubectl wait --for=condition=complete job/greet --timeout=90s >&2
         kubectl logs job/greet"
    ));
    assert_eq!(said, "mirrored\n");
    let _ = bench.cluster.docker(&["rm", "--force", "--volumes", "k3s"]).ok();
}

/// Starts the image that answers as k3s beside the node: one port for services, and a registry as mirror of another.
fn start_k3s(bench: &Bench, registry: &str) {
    let image = bench.cluster.load(&cache().join("cluster/k3s"));
    assert_eq!(image, format!("rancher/k3s:{}", pin("k3s")));
    let registries = bench.sandbox.path().join("registries.yaml");
    let text = format!("mirrors: {{docker.io: {{endpoint: ['http://{registry}']}}}}");
    std::fs::write(&registries, text).unwrap();
    let mount = format!("{}:/etc/rancher/k3s/registries.yaml", registries.display());
    let container = "run --detach --name k3s --hostname k3s --privileged --network cluster --volume";
    let server = "server --kube-apiserver-arg=service-node-port-range=31000-31000";
    let words = container
        .split(' ')
        .chain([&*mount, &image])
        .chain(server.split(' '));
    let _ = bench.cluster.docker(&words.collect::<Vec<_>>()).ok();
    let log = || bench.cluster.docker(&["logs", "k3s"]).stdout;
    wait_for("k3s", LIMIT, || log().contains("k3s is up and running"));
}

fn a_cluster_ends_with_whoever_holds_it() {
    let image = match Cluster::possible() {
        Ok(image) => image,
        Err(why) => return skip(&format!("cluster: {why}")),
    };
    let sandbox = Sandbox::new();
    let (folder, said) = (sandbox.path().join("held"), sandbox.path().join("said"));
    let mut sleep = Command::new("sleep");
    let mut caller = sleep.arg("1000").stdout(Stdio::piped()).spawn().unwrap();
    let mut hold = Command::new(repository().join("tests/cluster/hold"));
    hold.stdin(caller.stdout.take().unwrap());
    hold.stdout(File::create(&said).unwrap());
    let mut hold = hold.arg(&folder).arg(image).spawn().unwrap();
    let text = || std::fs::read_to_string(&said).unwrap();
    let mut ended = || hold.try_wait().unwrap().is_some();
    wait_for("a cluster", LIMIT, || text().ends_with("up\n") || ended());
    let before = traces(&folder, &text());
    assert!(before.len() > 5, "nothing is seen of a cluster: {before:?}");
    caller.kill().unwrap();
    let _ = caller.wait();
    assert!(hold.wait().unwrap().success());
    assert_eq!(traces(&folder, &text()), Vec::<String>::new());
}

/// What a machine has of a cluster that said this when it was up: its folder, mounts, processes, network and cgroups.
fn traces(folder: &Path, said: &str) -> Vec<String> {
    let told = |name: &str| {
        said.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    };
    // The words are given by the environment: a process that has the folder on its command line is one of the cluster.
    let script = r#"[ ! -e "$FOLDER" ] || echo "folder $FOLDER"
while read -r line; do case $line in *"$FOLDER"*) echo "mount $line" ;; esac; done </proc/self/mounts
for process in /proc/[0-9]*; do
    line=$({ tr '\0' ' ' <"$process/cmdline"; } 2>/dev/null)
    case $line in *"$FOLDER"*) echo "process $line" ;; esac
done
ip -4 -o address show | grep -F " $GATEWAY/"
find /sys/fs/cgroup -name "*$CONTAINER*" 2>/dev/null"#;
    let mut command = Command::new("bash");
    command.args(["-c", script]).env("FOLDER", folder);
    command.env("GATEWAY", told("gateway").unwrap());
    command.env("CONTAINER", told("container").unwrap());
    Ran::of(&mut command).stdout.lines().map(str::to_owned).collect()
}
