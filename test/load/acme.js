// k6's view of an ACME server that trusts its accounts: what anybody may ask for
// (directory, newNonce, renewalInfo) by many at once, and then whole issuances,
// signed here by WebCrypto with ES256. `make bench-k6` runs it.
//
//   SSL_CERT_FILE=root.pem DIRECTORY=https://127.0.0.1:14000/directory k6 run acme.js
//
// Environment: DIRECTORY; UNSIGNED_VUS (100) and UNSIGNED_DURATION (5m); SIGNED_VUS
// (8) and SIGNED_DURATION (1m).
import { check, fail } from 'k6';
import encoding from 'k6/encoding';
import exec from 'k6/execution';
import http from 'k6/http';
import { Trend } from 'k6/metrics';

const unsignedDuration = __ENV.UNSIGNED_DURATION || '5m';
const ES256 = { name: 'ECDSA', namedCurve: 'P-256' };
const issuance = new Trend('issuance_duration', true);

// A run fails where a threshold is crossed. The bounds are far above what a quiet
// machine shows (docs/performance.md), and below what a user would notice.
export const options = {
	scenarios: {
		unsigned: {
			executor: 'constant-vus', exec: 'unsigned', gracefulStop: '10s',
			vus: Number(__ENV.UNSIGNED_VUS || 100), duration: unsignedDuration,
		},
		signed: {
			executor: 'constant-vus', exec: 'signed', gracefulStop: '10s', startTime: unsignedDuration,
			vus: Number(__ENV.SIGNED_VUS || 8), duration: __ENV.SIGNED_DURATION || '1m',
		},
	},
	thresholds: {
		checks: ['rate>0.9999'],
		http_req_failed: ['rate<0.0001'],
		'http_req_duration{name:directory}': ['p(99)<500'],
		'http_req_duration{name:newNonce}': ['p(99)<500'],
		'http_req_duration{name:renewalInfo}': ['p(99)<500'],
		'http_reqs{scenario:unsigned}': ['rate>100'], // of the whole run, the signed part included
		issuance_duration: ['p(99)<2000'],
	},
	summaryTrendStats: ['count', 'avg', 'p(50)', 'p(90)', 'p(99)', 'max'],
};

// setup issues one certificate, so that there is renewal information to ask for.
export async function setup() {
	const directory = http.get(__ENV.DIRECTORY, tags('setup')).json();
	const account = await newAccount(directory);
	const chain = await issue(account, 'setup.k6.test');
	return { directory, renewal: renewalID(chain) };
}

// unsigned asks for what needs no account.
export function unsigned({ directory, renewal }) {
	const fetched = http.get(__ENV.DIRECTORY, tags('directory'));
	check(fetched, { 'directory is whole': (r) => r.status === 200 && r.json('newOrder') === directory.newOrder });
	const nonce = http.head(directory.newNonce, tags('newNonce'));
	check(nonce, { 'newNonce has a nonce': (r) => r.status === 200 && Boolean(r.headers['Replay-Nonce']) });
	const window = http.get(`${directory.renewalInfo}/${renewal}`, tags('renewalInfo'));
	check(window, { 'renewalInfo has a window': (r) => r.status === 200 && Boolean(r.json('suggestedWindow.end')) });
}

// account is that of this VU, once it has one.
let account;

// signed issues a certificate, for a name that no other has.
export async function signed({ directory }) {
	account = account || (await newAccount(directory));
	const began = Date.now();
	const chain = await issue(account, `${exec.scenario.iterationInTest}.k6.test`);
	issuance.add(Date.now() - began);
	check(chain, { 'there is a certificate': (c) => c.startsWith('-----BEGIN CERTIFICATE-----') });
}

// newAccount registers a new key.
async function newAccount(directory) {
	const key = await crypto.subtle.generateKey(ES256, true, ['sign', 'verify']);
	const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', key.publicKey);
	const made = { directory, key: key.privateKey, jwk: { kty, crv, x, y }, certificateKey: await crypto.subtle.generateKey(ES256, true, ['sign', 'verify']) };
	made.nonce = http.head(directory.newNonce, tags('newNonce')).headers['Replay-Nonce'];
	made.url = (await post(made, 'newAccount', directory.newAccount, { termsOfServiceAgreed: true })).headers.Location;
	return made;
}

// issue orders, finalizes and downloads a certificate, and returns its chain in PEM.
async function issue(by, name) {
	const order = await post(by, 'newOrder', by.directory.newOrder, { identifiers: [{ type: 'dns', value: name }] });
	const csr = base64URL(await certificateRequest(by.certificateKey, name));
	const valid = await post(by, 'finalize', order.json('finalize'), { csr });
	return (await post(by, 'certificate', valid.json('certificate'), null)).body;
}

// post sends a signed request (RFC 8555 §6.2); a payload of null is POST-as-GET.
async function post(by, name, url, payload) {
	const header = { alg: 'ES256', nonce: by.nonce, url };
	if (by.url) header.kid = by.url;
	else header.jwk = by.jwk;
	const body = {
		protected: base64URL(JSON.stringify(header)),
		payload: payload === null ? '' : base64URL(JSON.stringify(payload)),
	};
	body.signature = base64URL(await sign(by.key, bytes(`${body.protected}.${body.payload}`)));
	const params = tags(name);
	params.headers = { 'Content-Type': 'application/jose+json' };
	const response = http.post(url, JSON.stringify(body), params);
	by.nonce = response.headers['Replay-Nonce'];
	if (response.status >= 400) fail(`${name}: ${response.status} ${response.body}`);
	return response;
}

// tags groups requests by what they are, not by their URL.
function tags(name) {
	return { tags: { name } };
}

// sign signs with ECDSA and SHA-256, and returns r and s side by side.
async function sign(key, data) {
	return new Uint8Array(await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, key, data));
}

// bytes returns a text of ASCII in bytes.
function bytes(text) {
	return new Uint8Array(Array.from(text, (c) => c.charCodeAt(0)));
}

function base64URL(data) {
	return encoding.b64encode(typeof data === 'string' ? data : data.buffer, 'rawurl');
}

// What follows is as much DER as a CSR and a renewal ID need.

// der returns a value with its tag and length.
function der(tag, ...contents) {
	const content = contents.flatMap((c) => Array.from(c));
	const length = content.length < 0x80 ? [content.length] : content.length < 0x100 ? [0x81, content.length] : [0x82, content.length >> 8, content.length & 0xff];
	return new Uint8Array([tag, ...length, ...content]);
}

const SEQUENCE = 0x30;
const sequence = (...contents) => der(SEQUENCE, ...contents);
const ecdsaWithSHA256 = sequence(der(0x06, [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]));
const extensionRequest = der(0x06, [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e]);
const subjectAltName = der(0x06, [0x55, 0x1d, 0x11]);

// integer encodes an unsigned number, which may have too many leading zeros.
function integer(number) {
	let first = 0;
	while (first < number.length - 1 && number[first] === 0) first++;
	const rest = number.slice(first);
	return der(0x02, rest[0] >= 0x80 ? [0, ...rest] : rest);
}

// certificateRequest returns a CSR (RFC 2986) for a DNS name.
async function certificateRequest(key, name) {
	const spki = new Uint8Array(await crypto.subtle.exportKey('spki', key.publicKey));
	const names = sequence(der(0x82, bytes(name)));
	const attribute = sequence(extensionRequest, der(0x31, sequence(sequence(subjectAltName, der(0x04, names)))));
	const info = sequence(integer([0]), sequence(), spki, der(0xa0, attribute));
	const signature = await sign(key.privateKey, info);
	return sequence(info, ecdsaWithSHA256, der(0x03, [0], sequence(integer(signature.slice(0, 32)), integer(signature.slice(32)))));
}

// renewalID names the first certificate of a chain (RFC 9773 §4.1).
function renewalID(chain) {
	const pem = chain.split('-----')[2].replace(/\s/g, '');
	const certificate = new Uint8Array(encoding.b64decode(pem));
	const serial = read(certificate, inside(certificate, inside(certificate, 0)) + 5); // after the version
	// The extension: its OID, then the identifier in context tag 0 in a SEQUENCE in an OCTET STRING.
	const oid = [0x06, 0x03, 0x55, 0x1d, 0x23, 0x04];
	const at = certificate.findIndex((_, i) => oid.every((b, n) => certificate[i + n] === b));
	if (at < 0) fail('the certificate has no authority key identifier');
	const identifier = read(certificate, inside(certificate, inside(certificate, at + 5)));
	return `${base64URL(identifier)}.${base64URL(serial)}`;
}

// inside returns where the content of the value at a position begins.
function inside(data, at) {
	return at + 2 + (data[at + 1] < 0x80 ? 0 : data[at + 1] & 0x7f);
}

// read returns the content of a value whose length is below 128.
function read(data, at) {
	return data.slice(at + 2, at + 2 + data[at + 1]);
}
