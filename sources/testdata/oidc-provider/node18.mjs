// What oidc-provider and jose take from newer versions of node than the one that
// Debian 12 has.
import * as crypto from 'node:crypto';
import { register } from 'node:module';

globalThis.crypto ??= crypto.webcrypto;
URL.parse ??= (url, base) => { try { return new URL(url, base); } catch { return null; } };
if (!crypto.hash) register('./node18-hooks.mjs', import.meta.url);
