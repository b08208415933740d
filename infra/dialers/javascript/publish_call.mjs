// Publishes one call, and exits with status 0 only after the broker has confirmed it.
//
//   node publish_call.mjs amqps://dialer7:secret@broker.example.com 7 /dialers/hcm-1 18 1780747140.17 [group] [lead] [pick]
//                         url                                  customer source caller ID  your own id of the call
//
// ROTARY_DEADLINE_SECONDS: how long to retry, 30 by default. Needs amqplib: `npm install amqplib`.

import amqplib from 'amqplib';

const DEADLINE_MS = Number(process.env.ROTARY_DEADLINE_SECONDS || 30) * 1_000;
const CONFIRM_MS = 10_000;

/** The broker did not store the message, for example because a log is still starting. Publish it again. */
class NotStored extends Error {}

async function connect(url) {
  const connection = await amqplib.connect(url, { timeout: 10_000, heartbeat: 5 });
  // Errors also reject the pending publish. Without a listener an 'error' event would end the process.
  connection.on('error', () => {});
  return connection;
}

async function disconnect(connection) {
  try {
    await connection?.close();
  } catch {
    // It is closed already.
  }
}

/**
 * Resolves when the broker has stored the message: one event, or an array of up to 1,000 events of the same type.
 *
 * Each attempt has a channel of its own. Before RabbitMQ 4.0, a channel on which a message was returned can confirm
 * later messages that it does not store. A long-lived publisher may keep a channel for one routing key, and replaces it
 * after a returned message; it then publishes again every message that was not confirmed before the return.
 */
async function publish(connection, routingKey, event) {
  const channel = await connection.createConfirmChannel();
  let returned;
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the broker did not confirm')), CONFIRM_MS);
    const settle = (finish, value) => {
      clearTimeout(timer);
      finish(value);
    };
    // The broker returns a mandatory message that no queue receives, and then confirms it too.
    channel.on('return', ({ fields }) => (returned = fields.replyText));
    channel.on('error', (error) => settle(reject, error));
    channel.on('close', () => settle(reject, new Error('the channel was closed')));
    const options = {
      contentType: Array.isArray(event) ? 'application/cloudevents-batch+json' : 'application/cloudevents+json',
      persistent: true,
      mandatory: true,
    };
    channel.publish('rotary.events', routingKey, Buffer.from(JSON.stringify(event)), options, (error) =>
      error ? settle(reject, new NotStored('the broker did not accept it')) : settle(resolve),
    );
  });
  await channel.close();
  if (returned) throw new NotStored(`no log takes it: ${returned}`);
}

/** Retries until the broker has stored the message. The event keeps its id, so that it counts once. */
export async function publishUntilConfirmed(url, routingKey, event) {
  const deadline = Date.now() + DEADLINE_MS;
  let connection;
  for (let delay = 100; ; delay = Math.min(2_000, delay * 2)) {
    try {
      connection ??= await connect(url);
      await publish(connection, routingKey, event);
      await connection.close();
      return;
    } catch (error) {
      // After NotStored the connection is fine, and the next attempt opens a new channel.
      if (!(error instanceof NotStored)) {
        await disconnect(connection);
        connection = undefined;
      }
      // A wrong password, or a routing key of another customer: retrying cannot help.
      if (/ACCESS_REFUSED/.test(error.message) || Date.now() + delay > deadline) {
        await disconnect(connection);
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, delay));
    }
  }
}

const [url, customer, source, callerId, callId, group, lead, pick] = process.argv.slice(2);
if (!callId) {
  console.error('usage: node publish_call.mjs URL CUSTOMER SOURCE CALLER_ID CALL_ID [GROUP] [LEAD] [PICK]');
  process.exit(2);
}
try {
  await publishUntilConfirmed(url, `call-placed.${customer}`, {
    specversion: '1.0',
    id: callId,
    source,
    type: 'call-placed',
    time: new Date().toISOString(),
    data: {
      caller_id_id: Number(callerId),
      ...(group && { group_id: Number(group) }),
      ...(lead && { lead_id: lead }),
      ...(pick && { pick_id: pick }),
    },
  });
} catch (error) {
  console.error(`not published: ${error.message}`);
  process.exit(1);
}
