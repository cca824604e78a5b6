// Gives whoever imports node:crypto the one that has hash.
const withHash = new URL('node18-crypto.mjs', import.meta.url).href;

export function resolve(specifier, context, next) {
  return specifier === 'node:crypto' && context.parentURL !== withHash ? { url: withHash, shortCircuit: true } : next(specifier, context);
}
