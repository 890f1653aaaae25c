//! Every size, count, depth and time that is taken from outside, with its unit and reason.

/// Largest manifest or index, bytes (distribution-spec: registries must take 4 MiB, and clients should not send more).
pub const MANIFEST_BYTES: u64 = 4 << 20;
/// Largest image configuration, bytes. Build histories make it long; 4 MiB is what a manifest may be.
pub const IMAGE_CONFIG_BYTES: u64 = 4 << 20;
/// Largest `bundle.json`, bytes. It travels as a config blob; 4 MiB holds thousands of images.
pub const BUNDLE_JSON_BYTES: u64 = 4 << 20;
/// Largest authoring manifest (`samebundle.yaml`), bytes. It is written by a person.
pub const AUTHORING_BYTES: u64 = 1 << 20;
/// Largest pipeline IR, bytes. The largest of the public corpus is 60 KiB.
pub const PIPELINE_BYTES: u64 = 8 << 20;
/// Largest notebook that is compiled, bytes. It holds the images and tables that its cells have shown.
pub const NOTEBOOK_BYTES: u64 = 256 << 20;
/// Deepest nesting of JSON or YAML, levels (serde_json's own guard is 128).
pub const DOCUMENT_DEPTH: usize = 64;
/// Deepest nesting of a record, levels: a value may be as deep as a document, and the record stands around it.
pub const RECORD_DEPTH: usize = DOCUMENT_DEPTH + 16;
/// Largest integer in a strict JSON document: 2^53-1. RFC 8785 cannot tell larger ones from their neighbours.
pub const JSON_INTEGER: u64 = (1 << 53) - 1;
/// Most descriptors in one manifest or index. A document of [`MANIFEST_BYTES`] has hardly room for more, because none is
/// shorter than 113 bytes. Artifacts with one layer for each file have thousands.
pub const DESCRIPTORS: usize = 32_000;
/// Deepest nesting of indexes: a bundle's index, an image's index, a platform manifest.
pub const GRAPH_DEPTH: usize = 8;
/// Most blobs and manifests in the graph of one root: ten times a hundred images of a hundred layers.
pub const GRAPH_CONTENTS: usize = 100_000;
/// Most bytes of manifests that are kept in memory while a graph is copied; the rest are read again.
pub const GRAPH_MANIFEST_BYTES: usize = 16 << 20;
/// Most referrers that are read of one subject.
pub const REFERRERS: usize = 1_000;
/// Most signatures that are tried on one bundle, against verification as a denial of service.
pub const SIGNATURES: usize = 16;
/// Largest signature document (sigstore bundle, DSSE envelope, cosign payload), bytes.
pub const SIGNATURE_BYTES: u64 = 1 << 20;
/// Largest signed attestation (provenance, bill of materials), bytes: ten thousand packages at about 600 bytes, in base64.
pub const ATTESTATION_BYTES: u64 = 16 << 20;
/// Longest line of a file of OpenLineage events that is appended to, bytes: an event names each input and output of a run.
pub const EVENT_LINE_BYTES: u64 = 16 << 20;
/// Largest list of installed packages of one image (`/var/lib/dpkg/status`), bytes. A full desktop has about 5 MiB.
pub const PACKAGE_LIST_BYTES: u64 = 32 << 20;
/// Most packages in one bill of materials.
pub const SBOM_PACKAGES: usize = 10_000;
/// Most entries in an archive or in a layer of a content artifact.
pub const ARCHIVE_ENTRIES: usize = 10_000;
/// Deepest path in an archive, components.
pub const PATH_DEPTH: usize = 32;
/// Longest path in an archive, bytes.
pub const PATH_BYTES: usize = 1_024;
/// Longest component of a path, bytes (NAME_MAX).
pub const COMPONENT_BYTES: usize = 255;
/// Largest PAX or GNU extension header, bytes.
pub const TAR_EXTENSION_BYTES: u64 = 64 << 10;
/// Largest `index.json` or `oci-layout` file, bytes.
pub const LAYOUT_INDEX_BYTES: u64 = 16 << 20;
/// Most zeros behind the end of an archive, bytes; tar pads to 10 KiB.
pub const TAR_TRAILER_BYTES: u64 = 1 << 20;
/// How many times larger a compressed archive may become. The layers of bundles are compressed already; a bomb is
/// a thousand times larger.
pub const ARCHIVE_RATIO: u64 = 100;
/// The size from which on the ratio counts, bytes: small archives are mostly padding.
pub const ARCHIVE_RATIO_FROM: u64 = 16 << 20;
/// How many times larger than its file the content of a gzip stream may be.
pub const DECOMPRESSION_RATIO: u64 = 1_032;
/// Longest name of a bundle, installation or key, bytes.
pub const NAME_BYTES: usize = 63;
/// Longest version, bytes.
pub const VERSION_BYTES: usize = 128;
/// Longest tag, bytes (distribution-spec 1.1).
pub const TAG_BYTES: usize = 128;
/// Longest repository with registry, bytes (distribution-spec 1.1 recommends 255).
pub const REPOSITORY_BYTES: usize = 255;
/// Most volumes of one archive, with parity. The checksums of more would not fit into a head, nor the open files into
/// what a process may have.
pub const VOLUMES: usize = 500;
/// Largest single output parameter of a task, bytes.
pub const PARAMETER_BYTES: u64 = 16 << 20;
/// Size of the buffer that bytes stream through, bytes.
pub const STREAM_BUFFER: usize = 256 << 10;
/// How many bytes of a transfer are written or read at one time, bytes: large enough that a thread's change costs nothing.
pub const BATCH_BYTES: usize = 1 << 20;
/// The size from which on a blob is fetched in ranges, bytes. An interrupted transfer keeps the ranges that it has.
pub const RANGES_FROM: u64 = 2 << 20;
/// The least and the most bytes of one blob that may be asked for and not be recorded yet. After a kill they are asked for again.
pub const ASKED_BYTES: (u64, u64) = (8 << 20, 64 << 20);
/// A blob of at most this size is asked for in one request, bytes: more requests would cost more than a kill.
pub const ASKED_WHOLE: u64 = 16 << 20;
/// The part of a blob, one in so many bytes, that may be asked for on a fast path, within those two bounds: each request
/// costs the registry some work.
pub const ASKED_OF_ALL: u64 = 32;
/// Most ranges of one blob that are asked for at one time.
pub const RANGE_STREAMS: usize = 4;
/// Most blobs and ranges that are transferred at one time, at the best throughput. Each holds two batches in memory.
pub const LANES: usize = 8;
/// First part of an upload, and the one after a break, bytes. Some registries refuse less than 5 MiB.
pub const UPLOAD_PART_BYTES: u64 = 8 << 20;
/// Largest part of an upload, bytes; a registry whose least part is larger gets the blob whole.
pub const UPLOAD_PART_MOST_BYTES: u64 = 256 << 20;
/// Longest chunk of a layer as it is stored, bytes: a chunk is cut at 256 KiB at most, and incompressible bytes grow a little.
pub const CHUNK_BYTES: u32 = 512 << 10;
/// Largest chunk index, bytes: about 450,000 chunks, a layer of some 30 GiB. A larger layer has no chunk index and is moved
/// whole.
pub const CHUNK_INDEX_BYTES: u64 = 16 << 20;
/// Most chunk indexes of older layers that are looked at for one layer; each is read from the local disk.
pub const CHUNK_INDEXES: usize = 64;
/// Most ranges that are fetched of a layer of which older chunks are at hand; a layer that needs more is moved whole.
pub const CHUNK_RANGES: usize = 4_096;
/// The size from which on a delta archive leaves out a blob that the other side holds, bytes; a smaller one is not worth it.
pub const DELTA_OMITS_FROM: u64 = 64 << 10;
/// Most ranges that are recorded of a partial blob; one writer makes one for each stream.
pub const PARTIAL_RANGES: usize = 65_536;
/// The number of written bytes after which a blob begins to be synced while more of it comes.
pub const EARLY_SYNC_BYTES: u64 = 4 << 20;
/// How long a partial blob is kept, seconds: a week, for links that come and go.
pub const PARTIAL_SECONDS: u64 = 7 * 86_400;
/// Largest record of an unfinished upload, bytes; registries put their own state into an upload's address.
pub const UPLOAD_NOTE_BYTES: u64 = 64 << 10;
/// Largest record of one run, bytes: ten thousand tasks with their inputs and outputs.
pub const RUN_BYTES: u64 = 64 << 20;
/// Largest trust policy, bytes. It is written by a person; thousands of scopes fit.
pub const POLICY_BYTES: u64 = 1 << 20;
/// Largest key file in any format, bytes. The longest known is under 1 KiB.
pub const KEY_FILE_BYTES: u64 = 64 << 10;
/// Largest file of certificates or of a certificate's key, bytes: those of a system's authorities have a quarter of a MiB.
pub const CERTIFICATES_BYTES: u64 = 8 << 20;
/// Largest file of a passphrase or password, bytes.
pub const PASSPHRASE_FILE_BYTES: u64 = 64 << 10;
/// Largest file of high-water marks, bytes (about 300 a name: 200,000 names).
pub const MARKS_BYTES: u64 = 64 << 20;
/// How far the clocks of a signer and of this machine may differ, seconds.
pub const CLOCK_SKEW_SECONDS: u64 = 300;
/// How far a clock may be set back before verification refuses, seconds: a wrong time zone is not an attack.
pub const CLOCK_SETBACK_SECONDS: u64 = 86_400;
/// Most memory that the passphrase function of a key file may ask for, bytes (minisign's own setting asks for this).
pub const KDF_MEMORY_BYTES: u64 = 1 << 30;
/// Most work of the passphrase function of a key file, scrypt blocks N*r*p (twice minisign's own setting, some seconds).
pub const KDF_BLOCKS: u64 = 1 << 24;
/// Most rounds of bcrypt in an OpenSSH key file (`ssh-keygen -a`; default 24, some seconds at this).
pub const BCRYPT_ROUNDS: u32 = 1_024;
/// Largest blob that the registry server takes, bytes: 1 TiB, ten times what public registries take.
pub const BLOB_BYTES: u64 = 1 << 40;
/// Most uploads that are open at one time in the registry server; each holds a file.
pub const UPLOADS: usize = 1_000;
/// Longest time that an open upload may be idle, seconds: a day, for links that come and go.
pub const UPLOAD_IDLE_SECONDS: u64 = 86_400;
/// Longest silence inside the body of a request to the registry server, seconds; a client that stalls longer is cut off.
pub const BODY_SILENCE_SECONDS: u64 = 60;
/// Most connections of the registry server at one time; each holds a file descriptor and some buffers, and 1024 descriptors
/// are what a process usually gets. For one more, the one that is silent longest gives way, so this is no number of clients.
pub const CONNECTIONS: usize = 512;
/// When no connection is between two requests, one gives way to a new one that was silent for so long inside a request,
/// seconds: longer than any pause of a link that works, and short against [`BODY_SILENCE_SECONDS`].
pub const YIELD_SILENCE_SECONDS: u64 = 5;
/// Longest time for the head of a request to the registry server, and between two requests of a connection, seconds.
pub const HEADER_SILENCE_SECONDS: u64 = 30;
/// Most bytes of the body of a refused request that the registry server still reads, so that the client reads the answer.
pub const DRAINED_BYTES: u64 = 16 << 20;
/// Most characters of a request's path in the access log: a repository's name and a digest of the longest kind fit.
pub const LOGGED_PATH: usize = 512;
/// Largest file of users or of their rights, bytes. They are written by persons; thousands of users fit.
pub const ACCESS_BYTES: u64 = 1 << 20;
/// Largest form of a token request, bytes.
pub const TOKEN_FORM_BYTES: u64 = 64 << 10;
/// Longest token that the registry server reads, bytes; no header of a request is longer.
pub const TOKEN_BYTES: usize = 8 << 10;
/// Most scopes that one token is given for; a copy with mounts asks for two.
pub const TOKEN_SCOPES: usize = 30;
/// Most tags that one push of a manifest may set in the registry server; each is a file that is synced.
pub const TAGS_AT_ONCE: usize = 100;
/// Largest journal of an upload in the registry server, bytes: a repository's name and an algorithm.
pub const UPLOAD_JOURNAL_BYTES: u64 = 4 << 10;
/// Most tags or referrers in one page of a listing (distribution's own cap).
pub const PAGE: usize = 1_000;
/// Largest listing page or token answer of a registry, bytes: a page of 1,000 names is 130 KiB.
pub const LISTING_BYTES: u64 = 4 << 20;
/// Largest error body that is read from a registry, bytes; far less of it is shown.
pub const ERROR_BYTES: u64 = 64 << 10;
/// Most tags that are read of one repository.
pub const TAGS: usize = 100_000;
/// Most redirects that are followed for one request.
pub const REDIRECTS: usize = 5;
/// Largest `registries.conf`, bytes: a person writes it.
pub const REGISTRIES_CONF_BYTES: u64 = 1 << 20;
/// Largest profile of a registry, bytes: a dozen fields.
pub const REGISTRY_PROFILE_BYTES: u64 = 64 << 10;
/// Largest part that is offered to a registry that refused a larger one, bytes: a known limit.
pub const UPLOAD_PART_SMALL_BYTES: u64 = 4 << 20;
/// Largest credentials file or answer of a credential helper, bytes.
pub const CREDENTIALS_BYTES: u64 = 1 << 20;
/// Longest time that a credential helper may take, seconds: helpers hang on locked keychains.
pub const CREDENTIAL_HELPER_SECONDS: u64 = 30;
/// Longest wait that a registry may ask for with Retry-After, seconds.
pub const RETRY_AFTER_SECONDS: u64 = 900;
/// Largest blob that is held in memory for a push, so that it can be sent again, bytes.
pub const REPLAY_BYTES: u64 = 1 << 20;
/// Most documents in a pipeline file: the pipeline, a platform spec for each platform, and some to spare.
pub const PIPELINE_DOCUMENTS: usize = 16;
/// Most values (scalars, lists, mappings) in a YAML file; the largest pipeline of the public corpus has 3,000.
pub const YAML_NODES: usize = 250_000;
/// Most events that YAML aliases may add; compilers write none, people a few.
pub const YAML_ALIAS_EVENTS: usize = 10_000;
/// Largest value of a credential, bytes: a secret of Kubernetes may have 1 MiB.
pub const CREDENTIAL_BYTES: u64 = 1 << 20;
/// Most tasks that are looked at for what they use: a small file can nest more than anything could run.
pub const PIPELINE_TASKS: usize = 100_000;
/// Longest expression of a pipeline, bytes. Its parser needs up to 40 KiB of stack for each level of nesting.
pub const EXPRESSION_BYTES: usize = 4096;
/// Deepest nesting of macros (`all`, `exists`, `filter`, `map`) in an expression: each is a loop over a list, and the work grows
/// with the product of their lengths. The KFP compiler writes none.
pub const EXPRESSION_MACROS: usize = 2;
/// Most items of one loop. Each leaves at least two events in the log of its run.
pub const ITERATIONS: usize = 100_000;
/// Longest name of a pipeline, bytes (the KFP API server's own rule).
pub const PIPELINE_NAME_BYTES: usize = 128;
/// Deepest nesting of DAGs in DAGs. Each is a thread of recursion; the deepest of the public corpus is 6.
pub const DAG_DEPTH: usize = 32;
/// Most tasks within each other while a pipeline runs that holds itself under a condition. Each takes up to 90 KiB of the stack of
/// the thread that runs it, in a build without optimization, and a main thread has 8 MiB.
pub const NESTED_TASKS: usize = 64;
/// Most bytes that are read again while lines of quoted scalars are indented, so that a hostile file costs no more.
pub const YAML_REPAIR_BYTES: u64 = 64 << 20;
/// Longest run of a tool at build (pip, the kfp compiler), seconds. Large wheels over a slow line take minutes.
pub const BUILD_TOOL_SECONDS: u64 = 1_800;
/// Most bytes of a build tool's output that are kept to be shown: some screens.
pub const TOOL_OUTPUT_BYTES: usize = 8 << 10;
/// Largest `samebundle.lock`, bytes. It has one line for each wheel.
pub const LOCK_BYTES: u64 = 4 << 20;
/// Most files and folders in one output of a task; listings are kept in memory (about 200 bytes each).
pub const OUTPUT_ENTRIES: usize = 1_000_000;
/// Deepest nesting of folders in an output of a task; each holds an open handle.
pub const OUTPUT_DEPTH: usize = 64;
/// Most links of an output that are followed one after the other: Linux's own limit (`MAXSYMLINKS`).
pub const OUTPUT_LINK_HOPS: usize = 40;
/// Most names that are looked up to follow all links of one output; it takes a few seconds.
pub const OUTPUT_LINK_STEPS: usize = 16_000_000;
/// The most bytes of one thing that a run takes from outside: what the largest layer has.
pub const IMPORT_BYTES: u64 = LAYER_BYTES;
/// Most layers of one image (Docker's own limit is 127).
pub const IMAGE_LAYERS: usize = 128;
/// Largest layer when unpacked, bytes. Images with CUDA have layers of 10 GiB; far beyond that it is a bomb.
pub const LAYER_BYTES: u64 = 128 << 30;
/// How many times larger than its blob an unpacked layer must be to be reported as unusually large. It is unpacked all the same:
/// layers of zeros are rare, but they are legal.
pub const LAYER_RATIO: u64 = 100;
/// The size from which on that ratio counts, bytes; smaller layers fill no disk.
pub const LAYER_RATIO_FROM: u64 = 1 << 30;
/// Most entries in one image layer. A full distribution with CUDA and conda has about 400,000 files.
pub const LAYER_ENTRIES: usize = 2_000_000;
/// Longest path or link target in an image layer, bytes (PATH_MAX).
pub const LAYER_PATH_BYTES: usize = 4_096;
/// Deepest path in an image layer, components. Node's nested modules reach about 40.
pub const LAYER_PATH_DEPTH: usize = 256;
/// Largest window of a zstd stream, as a power of two of bytes (64 MiB): the memory that reading it may cost.
pub const ZSTD_WINDOW_LOG: u32 = 26;
/// Longest line of a container's output that is passed on whole, bytes; longer ones are cut into pieces.
pub const LOG_LINE_BYTES: usize = 64 << 10;
/// Longest argument or environment variable of a program, bytes without the NUL that ends it: Linux's `MAX_ARG_STRLEN`.
pub const ARGUMENT_BYTES: usize = (128 << 10) - 1;
/// Most bytes of arguments and environment together: a quarter of the usual limit of a stack (8 MiB), as Linux has it, less
/// what pointers and an image's own environment take.
pub const COMMAND_BYTES: usize = (2 << 20) - (256 << 10);
/// Largest message between a driver and its container helper, bytes: a specification with its environment.
pub const HELPER_MESSAGE_BYTES: u64 = 8 << 20;
/// Largest `passwd` or `group` file of an image, bytes.
pub const ACCOUNT_FILE_BYTES: u64 = 1 << 20;
/// The files of past runs that an export carries unless it is told otherwise, bytes: reports, metrics and small models, and
/// not so much that a file to carry becomes a burden.
pub const CARRIED_OUTPUTS: u64 = 256 << 20;
/// Largest history that an export carries, bytes.
pub const HISTORY_BYTES: u64 = 256 << 20;

/// Bundles, how many of those that were installed under a name before are remembered. The list is part of a small document.
pub const INSTALLATION_HISTORY: usize = 20;
/// A disk that has fewer bytes left is full: the record of a run and what its first container needs take as many.
pub const FULL_DISK_BYTES: u64 = 1 << 20;
/// Most files of a commit that is built, as many as a large repository has.
pub const GIT_FILES: usize = 100_000;
/// Most bytes of all files of a commit that is built: source and small data, not models.
pub const GIT_BYTES: u64 = 4 << 30;
/// Longest list of names or files that git prints, bytes.
pub const GIT_LISTING_BYTES: u64 = 64 << 20;
/// How long a blob that nothing needs stays in a store by default, seconds: a day, in which a copy that was cut off can be
/// resumed.
pub const STORE_GRACE_SECONDS: u64 = 86_400;
/// Largest page that shows runs, bytes: a browser opens it at once, and mail carries it.
pub const PAGE_BYTES: usize = 20 << 20;
/// Largest file of a run that a page holds, bytes: a picture of a good camera.
pub const PAGE_FILE_BYTES: u64 = 4 << 20;
/// Most rows of a table on a page.
pub const PAGE_TABLE_ROWS: usize = 20;
/// Most columns of a table on a page.
pub const PAGE_TABLE_COLUMNS: usize = 60;
/// Most bytes of a table's file that a page reads.
pub const PAGE_TABLE_BYTES: u64 = 256 << 10;
/// Most lines of a task's log on a page; they are the last.
pub const PAGE_LOG_LINES: usize = 1_000;
/// Most bytes of one value or line of text on a page.
pub const PAGE_TEXT_BYTES: usize = 4_000;
/// Most classes of a confusion matrix on a page: a hundred rows of a hundred cells.
pub const PAGE_CLASSES: usize = 100;
/// Most slices of which a page shows the metrics.
pub const PAGE_SLICES: usize = 50;
/// Most points of a curve on a page: more than a screen has columns for it.
pub const PAGE_CURVE_POINTS: usize = 1_000;
/// Most inputs or outputs of a task that a page lists.
pub const PAGE_OUTPUTS: usize = 200;
/// Most tasks whose graph a page draws.
pub const PAGE_TASKS: usize = 2_000;
/// Most runs that a page compares.
pub const PAGE_RUNS: usize = 12;
/// Largest answer of a service that is no registry, bytes: what a tracking server knows of one run.
pub const SERVICE_ANSWER_BYTES: u64 = 16 << 20;
