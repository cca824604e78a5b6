// An OAuth 2.0 issuer that we did not write, made awkward at will, for our
// tests: npm's oidc-provider, over https on the loopback interface.
//
// It is told what to do in lines of JSON on its standard input, answers each by
// one on its standard output, and ends with its input: it does not outlive the
// test. The first line holds cert, key and ca (PEM, for https), secret (of the
// clients that have one) and publicKey (PEM, of the one that signs); its answer
// is {"issuer": …}. What the others hold, `obey` says.
import './node18.mjs';
import * as https from 'node:https';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';

console.info = console.warn; // standard output is for answers
const { default: Provider, errors } = await import('oidc-provider');
const { calculateJwkThumbprint, jwtVerify } = await import('jose');

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';

const usual = {
  delay: 0, // milliseconds that a token request waits
  failures: 0, // the next so many token requests get the status and header below
  status: 503,
  retryAfter: '',
  lifetime: 600, // seconds that an access token lives
  scope: 'storage.read:/ storage.modify:/ compute.read compute.create', // all that is granted; other words are dropped in silence
  omit: [], // members that are left out of token responses
};
let ways = { ...usual };

const asked = []; // when token requests came, in milliseconds since 1970
const newKey = (kid, alg, kind, options) => ({ ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig' });
const keys = [newKey('first', 'RS256', 'rsa', { modulusLength: 2048 }), newKey('second', 'ES256', 'ec', { namedCurve: 'P-256' })];
let signing = keys[0]; // the only one that is published

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const setup = JSON.parse((await lines.next()).value);
const server = https.createServer({ cert: setup.cert, key: setup.key, ca: setup.ca, requestCert: true, rejectUnauthorized: false });
await new Promise((listening) => { server.listen(0, '127.0.0.1', listening); });
const issuer = `https://127.0.0.1:${server.address().port}`;

const clientKey = createPublicKey(setup.publicKey).export({ format: 'jwk' });
clientKey.kid = await calculateJwkThumbprint(clientKey);
const client = (id, method, grants, more) => ({
  client_id: id, client_secret: setup.secret, token_endpoint_auth_method: method, grant_types: grants, redirect_uris: [], response_types: [], ...more,
});
const resourceServer = () => ({
  scope: ways.scope, accessTokenTTL: ways.lifetime, accessTokenFormat: 'jwt', jwt: { sign: { alg: signing.alg, kid: signing.kid } },
});

const provider = new Provider(issuer, {
  clients: [
    client('robot basic:1', 'client_secret_basic', ['client_credentials', 'refresh_token', EXCHANGE, DEVICE]),
    client('robot-post', 'client_secret_post', ['client_credentials', 'refresh_token', EXCHANGE, DEVICE]),
    client('robot-key', 'private_key_jwt', ['client_credentials', 'refresh_token', EXCHANGE, DEVICE], {
      client_secret: undefined,
      jwks: { keys: [clientKey] },
    }),
    client('robot-cert', 'tls_client_auth', ['client_credentials', 'refresh_token', EXCHANGE, DEVICE], {
      client_secret: undefined,
      tls_client_auth_san_dns: 'robot.example.org',
    }),
    client('robot-public', 'none', ['refresh_token', EXCHANGE, DEVICE], { client_secret: undefined }),
  ],
  jwks: { keys },
  cookies: { keys: ['of a test'] },
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt', 'tls_client_auth', 'none'],
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    mTLS: {
      enabled: true,
      tlsClientAuth: true,
      getCertificate: (ctx) => ctx.socket.getPeerX509Certificate(),
      certificateAuthorized: (ctx) => ctx.socket.authorized,
      certificateSubjectMatches: (ctx, _property, name) => ctx.socket.getPeerX509Certificate().checkHost(name) !== undefined,
    },
    resourceIndicators: { enabled: true, getResourceServerInfo: resourceServer },
  },
  formats: { customizers: { jwt: (_ctx, _token, { payload }) => { Object.assign(payload, { 'wlcg.ver': '1.0', nbf: payload.iat }); } } },
  findAccount: (_ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
  rotateRefreshToken: true,
  ttl: {
    AccessToken: () => ways.lifetime, ClientCredentials: () => ways.lifetime,
    DeviceCode: 600, Grant: 86400, IdToken: 600, Interaction: 600, RefreshToken: 86400, Session: 86400,
  },
});

provider.use(async (ctx, next) => {
  if (ctx.path === '/token') {
    asked.push(Date.now());
    await sleep(ways.delay);
    if (ways.failures > 0) {
      ways.failures -= 1;
      ctx.status = ways.status;
      if (ways.retryAfter) ctx.set('Retry-After', ways.retryAfter);
      ctx.body = '<html><body>The service is busy</body></html>';
      return;
    }
  }
  await next();
  if (ctx.path === '/token' && ctx.status === 200) ways.omit.forEach((member) => { delete ctx.body[member]; });
  if (ctx.path === '/device/auth' && ctx.status === 200) ctx.body.interval = 1;
  if (ctx.path === '/jwks') ctx.body.keys = ctx.body.keys.filter(({ kid }) => kid === signing.kid);
});

// RFC 8693 for one of our own access tokens, without an actor: the same subject
// for another client, resource and scope.
provider.registerGrantType(EXCHANGE, async (ctx) => {
  const { params } = ctx.oidc;
  if (params.subject_token_type !== ACCESS_TOKEN) throw new errors.InvalidRequest('subject_token_type is not supported');
  const subject = await jwtVerify(params.subject_token, createPublicKey({ key: signing, format: 'jwk' }), { issuer }).catch((cause) => {
    throw new errors.InvalidGrant('subject_token is invalid', undefined, { cause });
  });
  const target = params.resource ?? params.audience;
  if (!target) throw new errors.InvalidTarget('resource or audience is missing');
  const token = new provider.AccessToken({
    client: ctx.oidc.client, accountId: subject.payload.sub, gty: 'token_exchange', resourceServer: new provider.ResourceServer(target, resourceServer()),
  });
  token.scope = params.scope?.split(' ').filter((word) => token.resourceServer.scopes.has(word)).join(' ') || undefined;
  ctx.body = { // what is undefined is left out
    access_token: await token.save(), issued_token_type: ACCESS_TOKEN, token_type: token.tokenType, expires_in: token.expiration, scope: token.scope,
  };
}, ['subject_token', 'subject_token_type', 'requested_token_type', 'resource', 'audience', 'scope']);

// refreshToken is what a person's consent to the client gives.
async function refreshToken({ client: id, scope, resource }) {
  const grant = new provider.Grant({ accountId: 'person', clientId: id });
  grant.addOIDCScope('openid offline_access');
  grant.addResourceScope(resource, scope);
  const token = new provider.RefreshToken({
    accountId: 'person', client: await provider.Client.find(id), grantId: await grant.save(), gty: 'device_code', resource, scope,
  });
  return token.save();
}

// obey does what a line says, and returns its answer.
async function obey(line) {
  if (line.ways) ways = { ...usual, ...line.ways };
  if (line.rotateKey) signing = keys.find((key) => key !== signing);
  return { asked, kid: signing.kid, refreshToken: line.consent && await refreshToken(line.consent) };
}

const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
server.on('request', provider.callback());
answer({ issuer });
for await (const line of lines) answer(await obey(JSON.parse(line)));
process.exit(0);
