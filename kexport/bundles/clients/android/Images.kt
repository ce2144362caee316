package dev.kexport.classifier

import android.graphics.Bitmap
import kotlin.math.abs
import kotlin.math.floor
import kotlin.math.max
import kotlin.math.min
import kotlin.math.round

/** Rows of RGB, or of grey; a byte is 0 to 255. */
class Pixels(val width: Int, val height: Int, val channels: Int, val values: ByteArray)

/**
 * Images to the model's input. The resize is bilinear with antialiasing, as Pillow's, with which the model was measured:
 * `Bitmap.createScaledBitmap` gives other pixels, and other decisions.
 */
class Images(private val contract: Contract) {
    private val rule = contract.preprocessing
    private val channels = rule.mean.size

    fun of(bitmap: Bitmap): Pixels {
        val colours = IntArray(bitmap.width * bitmap.height)
        bitmap.getPixels(colours, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
        val values = ByteArray(colours.size * channels)
        colours.forEachIndexed { place, colour ->
            val (red, green, blue) = Triple(colour shr 16 and 255, colour shr 8 and 255, colour and 255)
            if (channels == 1) {
                values[place] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000 shr 16).toByte()
            } else {
                values[3 * place] = red.toByte()
                values[3 * place + 1] = green.toByte()
                values[3 * place + 2] = blue.toByte()
            }
        }
        return Pixels(bitmap.width, bitmap.height, channels, values)
    }

    /** The network's size: resized by the contract's rule, then its centre, with black where it is smaller. */
    fun fitted(image: Pixels): ByteArray {
        val (width, height) = target(image)
        val from = resized(image, width, height)
        val left = (width - rule.width) / 2
        val top = (height - rule.height) / 2
        val centre = ByteArray(rule.height * rule.width * channels)
        for (y in 0 until rule.height) for (x in 0 until rule.width) {
            val fromX = x + left
            val fromY = y + top
            if (fromX !in 0 until width || fromY !in 0 until height) continue
            from.copyInto(centre, (y * rule.width + x) * channels, (fromY * width + fromX) * channels,
                (fromY * width + fromX + 1) * channels)
        }
        return centre
    }

    /** Pixels of the network's size as real numbers, in the order in which the network takes them. */
    fun prepared(pixels: ByteArray): FloatArray = FloatArray(pixels.size) { place ->
        val channel = place % channels
        val from = if (rule.bgr) place - channel + (channels - 1 - channel) else place
        (((pixels[from].toInt() and 255) * rule.scale - rule.mean[channel]) / rule.std[channel]).toFloat()
    }

    /** Real numbers as the bytes of an input of integers. */
    fun steps(values: FloatArray): ByteArray {
        val input = contract.input
        val limits = if (input.type == "uint8") 0.0 to 255.0 else -128.0 to 127.0
        return ByteArray(values.size) { place ->
            val steps = if (input.scale == 0.0) values[place] else values[place] / input.scale.toFloat()
            val step = round(steps.toDouble()) + if (input.scale == 0.0) 0 else input.zeroPoint
            min(limits.second, max(limits.first, step)).toInt().toByte()
        }
    }

    private fun target(image: Pixels): Pair<Int, Int> = when (rule.resize) {
        "squash" -> rule.width to rule.height
        "pad" -> {
            val factor = min(rule.width.toDouble() / image.width, rule.height.toDouble() / image.height)
            min(rule.width, max(1, round(image.width * factor).toInt())) to
                min(rule.height, max(1, round(image.height * factor).toInt()))
        }
        else -> {
            val factor = rule.shorterSide.toDouble() / min(image.width, image.height)
            max(rule.shorterSide, round(image.width * factor).toInt()) to
                max(rule.shorterSide, round(image.height * factor).toInt())
        }
    }

    private fun resized(image: Pixels, width: Int, height: Int): ByteArray {
        var values = image.values
        if (width != image.width) values = axis(values, image.height, image.width, channels, width)
        if (height != image.height) values = axis(values, 1, image.height, width * channels, height)
        return values
    }

    private fun axis(from: ByteArray, outer: Int, size: Int, inner: Int, wanted: Int): ByteArray {
        val to = ByteArray(outer * wanted * inner)
        val ratio = size.toDouble() / wanted
        val support = max(1.0, ratio)
        for (place in 0 until wanted) {
            val centre = (place + 0.5) * ratio
            val first = max(0, (centre - support + 0.5).toInt())
            val last = min(size, (centre + support + 0.5).toInt())
            val weights = DoubleArray(last - first) { max(0.0, 1 - abs((first + it - centre + 0.5) / support)) }
            val total = weights.sum()
            for (o in 0 until outer) for (i in 0 until inner) {
                var sum = 0.0
                for (k in first until last) sum += weights[k - first] * (from[(o * size + k) * inner + i].toInt() and 255)
                to[(o * wanted + place) * inner + i] = min(255.0, max(0.0, floor(sum / total + 0.5))).toInt().toByte()
            }
        }
        return to
    }
}
