import * as crypto from 'node:crypto';

export * from 'node:crypto';
export const hash = (algorithm, data, encoding = 'hex') => crypto.createHash(algorithm).update(data).digest(encoding);
