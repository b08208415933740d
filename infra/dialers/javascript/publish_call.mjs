// Tells Rotary of one placed call, and ends only when the broker has it on disk.
//
//   node publish_call.mjs amqps://dialer7:secret@broker.example.com 7 /dialers/hcm-1 18 1780747140.17 [group] [lead]
//                         url                                  customer source caller ID  your own id of the call
//
// Needs amqplib: `npm install amqplib`.

import amqplib from 'amqplib';

const DEADLINE_MS = 30_000;

/** The broker gave its answer, and trying again would bring the same one. */
class Refused extends Error {}

/** Publishes, and resolves when the broker has confirmed. One event, or an array of up to 1,000 of the same type. */
async function publish(url, routingKey, event) {
  const connection = await amqplib.connect(url, { timeout: 10_000, heartbeat: 5 });
  // Their last words come back from whatever was waiting; without a listener they would end the process.
  connection.on('error', () => {});
  try {
    const channel = await connection.createConfirmChannel();
    const refused = new Promise((_, reject) => {
      // Mandatory: a message that no queue would receive comes back, and then it is confirmed as well.
      channel.on('return', ({ fields }) => reject(new Refused(`no queue receives it: ${fields.replyText}`)));
      // 403: another customer's routing key. 404: the exchange does not exist.
      channel.on('error', (error) => reject([403, 404].includes(error.code) ? new Refused(error.message) : error));
      connection.on('close', (error) => reject(error ?? new Error('the connection was closed')));
    });
    channel.publish('rotary.events', routingKey, Buffer.from(JSON.stringify(event)), {
      contentType: Array.isArray(event) ? 'application/cloudevents-batch+json' : 'application/cloudevents+json',
      persistent: true,
      mandatory: true,
    });
    await Promise.race([refused, channel.waitForConfirms()]);
    // The return, if there is one, is handled before its confirmation; this gives it its turn.
    await Promise.race([refused, new Promise(setImmediate)]);
    refused.catch(() => {});
  } finally {
    await connection.close().catch(() => {});
  }
}

/** Tries until the broker confirms. The event keeps its id, so that it counts once however often it arrives. */
export async function publishSurely(url, routingKey, event) {
  const deadline = Date.now() + DEADLINE_MS;
  for (let pause = 100; ; pause = Math.min(2_000, pause * 2)) {
    try {
      return await publish(url, routingKey, event);
    } catch (trouble) {
      const final = trouble instanceof Refused || /ACCESS_REFUSED/.test(trouble.message);
      if (final || Date.now() + pause > deadline) throw trouble;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

const [url, customer, source, callerId, callId, group, lead] = process.argv.slice(2);
if (!callId) {
  console.error('usage: node publish_call.mjs URL CUSTOMER SOURCE CALLER_ID CALL_ID [GROUP] [LEAD]');
  process.exit(2);
}
try {
  await publishSurely(url, `call-placed.${customer}`, {
    specversion: '1.0',
    id: callId,
    source,
    type: 'call-placed',
    time: new Date().toISOString(),
    data: {
      caller_id_id: Number(callerId),
      ...(group && { group_id: Number(group) }),
      ...(lead && { lead_id: lead }),
    },
  });
} catch (failure) {
  console.error(`not published: ${failure.message}`);
  process.exit(1);
}
