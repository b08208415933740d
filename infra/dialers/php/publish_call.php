<?php
// Tells Rotary of one placed call, and returns only when the broker has it on disk.
//
//   php publish_call.php amqps://dialer7:secret@broker.example.com 7 /dialers/hcm-1 18 1780747140.17 [group] [lead]
//                        url                                      customer source  caller ID  your own id of the call
//
// Needs php-amqplib: `composer require php-amqplib/php-amqplib`, or Debian's package php-amqplib.

declare(strict_types=1);

use PhpAmqpLib\Channel\AMQPChannel;
use PhpAmqpLib\Connection\AMQPConnectionConfig;
use PhpAmqpLib\Connection\AMQPConnectionFactory;
use PhpAmqpLib\Exception\AMQPExceptionInterface;
use PhpAmqpLib\Message\AMQPMessage;

require is_file(__DIR__ . '/vendor/autoload.php') ? __DIR__ . '/vendor/autoload.php' : 'PhpAmqpLib/autoload.php';

const DEADLINE_SECONDS = 30;

/** The broker gave its answer, and trying again would bring the same one. */
final class Refused extends RuntimeException {}

function open_channel(string $url): AMQPChannel
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
    $channel = AMQPConnectionFactory::create($config)->channel();
    $channel->confirm_select();
    return $channel;
}

/** Publishes, and returns when the broker has confirmed. One event, or a list of up to 1,000 of the same type. */
function publish(AMQPChannel $channel, string $routingKey, array $event): void
{
    $many = array_is_list($event);
    $message = new AMQPMessage(json_encode($event, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES), [
        'content_type' => $many ? 'application/cloudevents-batch+json' : 'application/cloudevents+json',
        'delivery_mode' => AMQPMessage::DELIVERY_MODE_PERSISTENT,
    ]);
    $failure = null;
    // Mandatory: a message that no queue would receive comes back, and then it is confirmed as well.
    $channel->set_return_listener(function (int $code, string $text) use (&$failure): void {
        $failure = new Refused("no queue receives it: $text");
    });
    $channel->set_nack_handler(function () use (&$failure): void {
        $failure = new RuntimeException('the broker could not take it');
    });
    $channel->basic_publish($message, 'rotary.events', $routingKey, true);
    $channel->wait_for_pending_acks_returns(10);
    if ($failure !== null) {
        throw $failure;
    }
}

/** Tries until the broker confirms. The event keeps its id, so that it counts once however often it arrives. */
function publish_surely(string $url, string $routingKey, array $event): void
{
    $deadline = microtime(true) + DEADLINE_SECONDS;
    for ($pause = 0.1; ; $pause = min(2.0, $pause * 2)) {
        try {
            publish(open_channel($url), $routingKey, $event);
            return;
        } catch (Refused $refused) {
            throw $refused;
        } catch (AMQPExceptionInterface | RuntimeException $trouble) {
            // 403: another customer's routing key, or a wrong password. 404: the exchange does not exist.
            if (in_array($trouble->getCode(), [403, 404], true) || microtime(true) + $pause > $deadline) {
                throw $trouble;
            }
            usleep((int) ($pause * 1_000_000));
        }
    }
}

if ($argc < 6) {
    fwrite(STDERR, "usage: php publish_call.php URL CUSTOMER SOURCE CALLER_ID CALL_ID [GROUP] [LEAD]\n");
    exit(2);
}
[, $url, $customer, $source, $callerId, $callId] = $argv;
$data = ['caller_id_id' => (int) $callerId];
if (isset($argv[6]) && $argv[6] !== '') {
    $data['group_id'] = (int) $argv[6];
}
if (isset($argv[7])) {
    $data['lead_id'] = $argv[7];
}
try {
    publish_surely($url, "call-placed.$customer", [
        'specversion' => '1.0',
        'id' => $callId,
        'source' => $source,
        'type' => 'call-placed',
        'time' => (new DateTimeImmutable('now', new DateTimeZone('UTC')))->format('Y-m-d\TH:i:s.v\Z'),
        'data' => $data,
    ]);
} catch (Throwable $failure) {
    fwrite(STDERR, "not published: {$failure->getMessage()}\n");
    exit(1);
}
