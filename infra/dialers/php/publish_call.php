<?php
// Publishes one call, and exits with status 0 only after the broker has confirmed it.
//
//   php publish_call.php amqps://dialer7:secret@broker.example.com 7 /dialers/hcm-1 18 1780747140.17 [group] [lead] [pick]
//                        url                                      customer source  caller ID  your own id of the call
//
// ROTARY_DEADLINE_SECONDS: how long to retry, 30 by default. Needs php-amqplib:
// `composer require php-amqplib/php-amqplib`, or Debian's package php-amqplib.

declare(strict_types=1);

use PhpAmqpLib\Connection\AbstractConnection;
use PhpAmqpLib\Connection\AMQPConnectionConfig;
use PhpAmqpLib\Connection\AMQPConnectionFactory;
use PhpAmqpLib\Exception\AMQPExceptionInterface;
use PhpAmqpLib\Message\AMQPMessage;

require is_file(__DIR__ . '/vendor/autoload.php') ? __DIR__ . '/vendor/autoload.php' : 'PhpAmqpLib/autoload.php';

const ACCESS_REFUSED = 403;
const CONFIRM_SECONDS = 10;

/** The broker did not store the message, for example because a log is still starting. Publish it again. */
final class NotStored extends RuntimeException {}

function connect(string $url): AbstractConnection
{
    $parts = parse_url($url);
    $config = new AMQPConnectionConfig();
    $secure = $parts['scheme'] === 'amqps';
    $config->setIsSecure($secure);
    $config->setHost($parts['host']);
    $config->setPort($parts['port'] ?? ($secure ? 5671 : 5672));
    $config->setUser(rawurldecode($parts['user'] ?? 'guest'));
    $config->setPassword(rawurldecode($parts['pass'] ?? 'guest'));
    $vhost = rawurldecode(substr($parts['path'] ?? '', 1));
    $config->setVhost($vhost === '' ? '/' : $vhost);
    return AMQPConnectionFactory::create($config);
}

/**
 * Returns when the broker has stored the message: one event, or a list of up to 1,000 events of the same type.
 *
 * Each attempt has a channel of its own. Before RabbitMQ 4.0, a channel on which a message was returned can confirm
 * later messages that it does not store. A long-lived publisher may keep a channel for one routing key, and replaces it
 * after a returned message; it then publishes again every message that was not confirmed before the return.
 */
function publish(AbstractConnection $connection, string $routingKey, array $event): void
{
    $type = array_is_list($event) ? 'application/cloudevents-batch+json' : 'application/cloudevents+json';
    $message = new AMQPMessage(json_encode($event, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES), [
        'content_type' => $type,
        'delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT,
    ]);
    $channel = $connection->channel();
    $channel->confirm_select();
    $failure = null;
    // The broker returns a mandatory message that no queue receives, and then confirms it too.
    $channel->set_return_listener(function (int $code, string $text) use (&$failure): void {
        $failure = new NotStored("no log takes it: $text");
    });
    $channel->set_nack_handler(function () use (&$failure): void {
        $failure = new NotStored('the broker did not accept it');
    });
    $channel->basic_publish($message, 'rotary.events', $routingKey, true);
    $channel->wait_for_pending_acks_returns(CONFIRM_SECONDS);
    $channel->close();
    if ($failure !== null) {
        throw $failure;
    }
}

/** Retries until the broker has stored the message. The event keeps its id, so that it counts once. */
function publish_until_confirmed(string $url, string $routingKey, array $event): void
{
    $deadline = microtime(true) + (float) (getenv('ROTARY_DEADLINE_SECONDS') ?: 30);
    $connection = null;
    for ($delay = 0.1; ; $delay = min(2.0, $delay * 2)) {
        try {
            $connection ??= connect($url);
            publish($connection, $routingKey, $event);
            $connection->close();
            return;
        } catch (NotStored $error) {
            // The connection is fine. The next attempt opens a new channel.
        } catch (AMQPExceptionInterface | RuntimeException $error) {
            $connection = null;
            // A wrong password, or a routing key of another customer: retrying cannot help.
            if ($error->getCode() === ACCESS_REFUSED) {
                throw $error;
            }
        }
        if (microtime(true) + $delay > $deadline) {
            throw $error;
        }
        usleep((int) ($delay * 1_000_000));
    }
}

if ($argc < 6) {
    fwrite(STDERR, "usage: php publish_call.php URL CUSTOMER SOURCE CALLER_ID CALL_ID [GROUP] [LEAD] [PICK]\n");
    exit(2);
}
[, $url, $customer, $source, $callerId, $callId] = $argv;
$data = ['caller_id_id' => (int) $callerId];
if (isset($argv[6]) && $argv[6] !== '') {
    $data['group_id'] = (int) $argv[6];
}
if (isset($argv[7]) && $argv[7] !== '') {
    $data['lead_id'] = $argv[7];
}
if (isset($argv[8])) {
    $data['pick_id'] = $argv[8];
}
try {
    publish_until_confirmed($url, "call-placed.$customer", [
        'specversion' => '1.0',
        'id' => $callId,
        'source' => $source,
        'type' => 'call-placed',
        'time' => (new DateTimeImmutable('now', new DateTimeZone('UTC')))->format('Y-m-d\TH:i:s.v\Z'),
        'data' => $data,
    ]);
} catch (Throwable $error) {
    fwrite(STDERR, "not published: {$error->getMessage()}\n");
    exit(1);
}
